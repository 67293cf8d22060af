// Package jsonform knows what JSON does to values and to payloads: which values would not
// come back as they were (Marshal refuses them), what can be part of other JSON
// (Embeddable), and how a payload is shown to people (Shown).
package jsonform
