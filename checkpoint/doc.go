// Package checkpoint defines what durable executions are stored as: records,
// their binary form, and the contract of a store.
//
// Users of the durable package rarely need it. It is for authors of stores, who
// implement Store and check it with the package storetest, and for tools that
// read what was stored.
package checkpoint
