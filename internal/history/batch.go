package history

// Batch is what is recorded of a batch's decision. It is never made again.
type Batch struct {
	Reason string `json:"reason"`
	Total  int    `json:"total"`         // items, started or not
	Items  string `json:"items"`         // S, F, T (started) or "-" an index
	Min    int    `json:"min,omitempty"` // successes that were asked for; 0: none
}

// Why a batch ended.
const (
	AllCompleted             = "ALL_COMPLETED"
	MinSuccessfulReached     = "MIN_SUCCESSFUL_REACHED"
	FailureToleranceExceeded = "FAILURE_TOLERANCE_EXCEEDED"
)
