// Package errs has the name of another one, and a type of the same name as that.
package errs

// NotFound says that one of the orders is missing.
type NotFound struct{ Key string }

func (e *NotFound) Error() string { return "orders: no " + e.Key }
