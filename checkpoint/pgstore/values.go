package pgstore

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// values are the parameters of a statement in the form in which they are sent. A round has
// thousands: what is made of them is in one buffer, which the next one uses again.
type values struct {
	buf     []byte
	all     [][]byte
	formats []int16
}

// most is how much is kept for the next statement, in bytes.
const most = 4 << 20

func (v *values) reset() {
	if cap(v.buf) > most {
		v.buf = nil
	}
	clear(v.all)
	v.buf, v.all, v.formats = v.buf[:0], v.all[:0], v.formats[:0]
}

// add adds a parameter of a type.
func (v *values) add(types *pgtype.Map, oid uint32, arg any) (err error) {
	start, format := len(v.buf), int16(pgx.BinaryFormatCode)
	switch a := arg.(type) {
	case int64:
		if oid == pgtype.Int8OID {
			v.buf = binary.BigEndian.AppendUint64(v.buf, uint64(a))
			break
		}
		return v.other(types, oid, arg)
	case []byte:
		if a == nil {
			v.all, v.formats = append(v.all, nil), append(v.formats, format)
			return nil
		}
		if oid != pgtype.ByteaOID {
			return v.other(types, oid, arg)
		}
		v.buf = append(v.buf, a...)
	case []int64:
		if oid != pgtype.Int8ArrayOID || a == nil {
			return v.other(types, oid, arg)
		}
		v.array(len(a), pgtype.Int8OID, false)
		for _, x := range a {
			v.buf = binary.BigEndian.AppendUint32(v.buf, 8)
			v.buf = binary.BigEndian.AppendUint64(v.buf, uint64(x))
		}
	case []int16:
		if oid != pgtype.Int2ArrayOID || a == nil {
			return v.other(types, oid, arg)
		}
		v.array(len(a), pgtype.Int2OID, false)
		for _, x := range a {
			v.buf = binary.BigEndian.AppendUint32(v.buf, 2)
			v.buf = binary.BigEndian.AppendUint16(v.buf, uint16(x))
		}
	case []bool:
		if oid != pgtype.BoolArrayOID || a == nil {
			return v.other(types, oid, arg)
		}
		v.array(len(a), pgtype.BoolOID, false)
		for _, x := range a {
			v.buf = binary.BigEndian.AppendUint32(v.buf, 1)
			if x {
				v.buf = append(v.buf, 1)
			} else {
				v.buf = append(v.buf, 0)
			}
		}
	case []string:
		if oid != pgtype.TextArrayOID || a == nil {
			return v.other(types, oid, arg)
		}
		v.array(len(a), pgtype.TextOID, false)
		for _, x := range a {
			v.buf = binary.BigEndian.AppendUint32(v.buf, uint32(len(x)))
			v.buf = append(v.buf, x...)
		}
	case [][]byte:
		if oid != pgtype.ByteaArrayOID || a == nil {
			return v.other(types, oid, arg)
		}
		nulls := false
		for _, x := range a {
			nulls = nulls || x == nil
		}
		v.array(len(a), pgtype.ByteaOID, nulls)
		for _, x := range a {
			if x == nil {
				v.buf = binary.BigEndian.AppendUint32(v.buf, 1<<32-1)
				continue
			}
			v.buf = binary.BigEndian.AppendUint32(v.buf, uint32(len(x)))
			v.buf = append(v.buf, x...)
		}
	default:
		return v.other(types, oid, arg)
	}
	v.all, v.formats = append(v.all, v.buf[start:]), append(v.formats, format)
	return nil
}

// array begins an array of one dimension.
func (v *values) array(n int, element uint32, nulls bool) {
	flag := uint32(0)
	if nulls {
		flag = 1
	}
	for _, x := range []uint32{1, flag, element, uint32(n), 1} { // dimensions, nulls, type, length, first index
		v.buf = binary.BigEndian.AppendUint32(v.buf, x)
	}
}

// other adds what is rare.
func (v *values) other(types *pgtype.Map, oid uint32, arg any) error {
	format := types.FormatCodeForOID(oid)
	if _, ok := arg.(string); ok {
		format = pgx.TextFormatCode
	}
	start := len(v.buf)
	buf, err := types.Encode(oid, format, arg, v.buf)
	if err != nil {
		return err
	}
	if buf == nil {
		v.all = append(v.all, nil)
	} else {
		v.buf = buf
		v.all = append(v.all, v.buf[start:])
	}
	v.formats = append(v.formats, format)
	return nil
}
