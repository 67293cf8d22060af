package checkpoint

// Keys of a record's fields. They are part of the binary form: none is ever
// given to another field. Numbers up to 63 take one byte.
const (
	recordVersion = 0x01

	keySeq              = 1 << 1
	keyEventID          = 2 << 1
	keyEvents           = 3 << 1
	keyType             = 4 << 1
	keySubType          = 5 << 1
	keyFlags            = 6 << 1
	keyTime             = 7 << 1
	keyStartedAt        = 8 << 1 // distance from Time
	keyOperationID      = 9<<1 | 1
	keyParentID         = 10<<1 | 1
	keyName             = 11<<1 | 1
	keyAttempt          = 12 << 1
	keyDuration         = 13 << 1
	keyTimeout          = 14 << 1
	keyHeartbeatTimeout = 15 << 1
	keyNextAttemptDelay = 16 << 1
	keyWakeAt           = 17 << 1 // distance from Time
	keyTimeoutAt        = 18 << 1 // distance from Time
	keyFunction         = 19<<1 | 1
	keyTargetID         = 20<<1 | 1
	keyCodec            = 21<<1 | 1
	keyPayload          = 22<<1 | 1
	keyFailure          = 23<<1 | 1
	keyBatch            = 24<<1 | 1
	keyDigest           = 25<<1 | 1
	keyKey              = 26<<1 | 1
	keyNumber           = 27 << 1
	keyRestartOf        = 28<<1 | 1
	keyTrace            = 29<<1 | 1
	keyKeys             = 30<<1 | 1
)

// AppendRecord appends the binary form of r to dst. Nothing is allocated but
// the growth of dst. An empty byte slice and a nil one have the same form.
func AppendRecord(dst []byte, r *Record) []byte {
	dst, start := openFrame(dst, recordVersion)
	dst = appendUint(dst, keySeq, r.Seq)
	dst = appendUint(dst, keyEventID, r.EventID)
	dst = appendUint(dst, keyEvents, uint64(r.Events))
	dst = appendUint(dst, keyType, uint64(r.Type))
	dst = appendUint(dst, keySubType, uint64(r.SubType))
	dst = appendUint(dst, keyFlags, uint64(r.Flags))
	dst = appendInt(dst, keyTime, r.Time)
	dst = appendDelta(dst, keyStartedAt, r.StartedAt, r.Time)
	dst = appendBytes(dst, keyOperationID, r.OperationID)
	dst = appendBytes(dst, keyParentID, r.ParentID)
	dst = appendBytes(dst, keyName, r.Name)
	dst = appendUint(dst, keyAttempt, uint64(r.Attempt))
	dst = appendInt(dst, keyDuration, r.Duration)
	dst = appendInt(dst, keyTimeout, r.Timeout)
	dst = appendInt(dst, keyHeartbeatTimeout, r.HeartbeatTimeout)
	dst = appendInt(dst, keyNextAttemptDelay, r.NextAttemptDelay)
	dst = appendDelta(dst, keyWakeAt, r.WakeAt, r.Time)
	dst = appendDelta(dst, keyTimeoutAt, r.TimeoutAt, r.Time)
	dst = appendBytes(dst, keyFunction, r.Function)
	dst = appendBytes(dst, keyTargetID, r.TargetID)
	dst = appendBytes(dst, keyCodec, r.Codec)
	dst = appendBytes(dst, keyPayload, r.Payload)
	dst = appendBytes(dst, keyFailure, r.Failure)
	dst = appendBytes(dst, keyBatch, r.Batch)
	dst = appendBytes(dst, keyDigest, r.Digest)
	dst = appendBytes(dst, keyKey, r.Key)
	dst = appendInt(dst, keyNumber, r.Number)
	dst = appendBytes(dst, keyRestartOf, r.RestartOf)
	dst = appendBytes(dst, keyTrace, r.Trace)
	dst = appendBytes(dst, keyKeys, r.Keys)
	return closeFrame(dst, start)
}

// DecodeRecord reads the record at the front of b and returns what is behind
// it. The byte slices of the record are parts of b, which must not change while
// they are used; strings are copied. Any other error than nil is a
// *CorruptError that says whether b is truncated, damaged or of a format that
// is not known; rest is b then. It never allocates more than b holds.
func DecodeRecord(b []byte) (r Record, rest []byte, err error) {
	const what = "record"
	body, rest, err := cutFrame(b, recordVersion, what)
	if err != nil {
		return Record{}, b, err
	}
	fits := true
	var startedAt, wakeAt, timeoutAt uint64
	var hasStartedAt, hasWakeAt, hasTimeoutAt bool
	for len(body) > 0 {
		var key, n uint64
		var v []byte
		if key, n, v, body, err = cutField(body, what); err != nil {
			return Record{}, b, err
		}
		switch key {
		case keySeq:
			r.Seq = n
		case keyEventID:
			r.EventID = n
		case keyEvents:
			r.Events = narrow[uint8](n, &fits)
		case keyType:
			r.Type = EventType(narrow[uint8](n, &fits))
		case keySubType:
			r.SubType = SubType(narrow[uint8](n, &fits))
		case keyFlags:
			r.Flags = Flags(narrow[uint8](n, &fits))
		case keyTime:
			r.Time = unzigzag(n)
		case keyStartedAt:
			startedAt, hasStartedAt = n, true
		case keyOperationID:
			r.OperationID = string(v)
		case keyParentID:
			r.ParentID = string(v)
		case keyName:
			r.Name = string(v)
		case keyAttempt:
			r.Attempt = narrow[uint32](n, &fits)
		case keyDuration:
			r.Duration = unzigzag(n)
		case keyTimeout:
			r.Timeout = unzigzag(n)
		case keyHeartbeatTimeout:
			r.HeartbeatTimeout = unzigzag(n)
		case keyNextAttemptDelay:
			r.NextAttemptDelay = unzigzag(n)
		case keyWakeAt:
			wakeAt, hasWakeAt = n, true
		case keyTimeoutAt:
			timeoutAt, hasTimeoutAt = n, true
		case keyFunction:
			r.Function = string(v)
		case keyTargetID:
			r.TargetID = string(v)
		case keyCodec:
			r.Codec = string(v)
		case keyPayload:
			r.Payload = v
		case keyFailure:
			r.Failure = v
		case keyBatch:
			r.Batch = v
		case keyDigest:
			r.Digest = v
		case keyKey:
			r.Key = string(v)
		case keyNumber:
			r.Number = unzigzag(n)
		case keyRestartOf:
			r.RestartOf = string(v)
		case keyTrace:
			r.Trace = string(v)
		case keyKeys:
			r.Keys = string(v)
		}
	}
	if !fits {
		return Record{}, b, &CorruptError{Where: what, What: "damaged: a number is out of range"}
	}
	if hasStartedAt {
		r.StartedAt = r.Time + unzigzag(startedAt)
	}
	if hasWakeAt {
		r.WakeAt = r.Time + unzigzag(wakeAt)
	}
	if hasTimeoutAt {
		r.TimeoutAt = r.Time + unzigzag(timeoutAt)
	}
	return r, rest, nil
}
