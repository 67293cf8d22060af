package durablehttp

import "github.com/durable-go/durable"

// What is left out of answers.

// show is an execution as a request may see it.
func (a *admin) show(r *request, info durable.ExecutionInfo) durable.ExecutionInfo {
	if !r.payloads {
		info.Input, info.Result = nil, nil
	}
	info.Failure, info.Held = a.showFailure(r, info.Failure), a.showFailure(r, info.Held)
	return info
}

func (a *admin) showOperation(r *request, o durable.Operation) durable.Operation {
	o.CallbackID = "" // who has it may complete the callback
	if !r.payloads {
		o.Result = nil
	}
	o.Failure = a.showFailure(r, o.Failure)
	return o
}

func (a *admin) showEvent(r *request, ev durable.Event) durable.Event {
	ev.CallbackID = ""
	if !r.payloads {
		ev.Input, ev.Result = nil, nil
	}
	ev.Failure = a.showFailure(r, ev.Failure)
	return ev
}

// showFailure is a failure without its payloads: data and stack, and the message too
// where they are hidden and not only left out for brevity.
func (a *admin) showFailure(r *request, f *durable.Failure) *durable.Failure {
	switch {
	case f == nil || r.payloads:
		return f
	case a.opts.HidePayloads:
		return &durable.Failure{Type: f.Type}
	}
	return &durable.Failure{Type: f.Type, Message: f.Message}
}
