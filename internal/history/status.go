package history

// Status is the status of an operation; what they mean is told with durable.OperationStatus.
type Status string

// The statuses of operations.
const (
	Started   Status = "STARTED"
	Pending   Status = "PENDING"
	Ready     Status = "READY"
	Succeeded Status = "SUCCEEDED"
	Failed    Status = "FAILED"
	Cancelled Status = "CANCELLED"
	TimedOut  Status = "TIMED_OUT"
	Stopped   Status = "STOPPED"
)
