package history

import (
	"strconv"

	"github.com/durable-go/durable/checkpoint"
)

// Describe is an operation as code asks for it, for people.
func Describe(typ Type, sub checkpoint.SubType, name string) string {
	s := typ.String()
	if sub.String() != "" {
		s += " (" + sub.String() + ")"
	}
	return s + " " + strconv.Quote(name)
}

// Mismatch is in what o is not what code asks for; "" if it is that.
func Mismatch(o *Operation, typ Type, sub checkpoint.SubType, name string) string {
	switch {
	case o.Type != typ:
		return "type"
	case o.SubType != sub:
		return "sub-type"
	case o.Name != name:
		return "name"
	}
	return ""
}

// RecordedParent is the parent where it does not follow from the ID.
func (o *Operation) RecordedParent() string {
	if o.Flags&checkpoint.FlagParent != 0 {
		return o.Parent
	}
	return ""
}
