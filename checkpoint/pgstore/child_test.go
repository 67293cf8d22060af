package pgstore_test

// childURL names the database to a process that a test starts.
const childURL = "PGSTORE_TEST_CHILD"

func child() {}
