package pgstore

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

// TestValues: what is sent is what the driver would send.
func TestValues(t *testing.T) {
	types := pgtype.NewMap()
	var v values
	for range 2 { // in a buffer that was used before
		for _, test := range []struct {
			oid uint32
			arg any
		}{
			{pgtype.Int8OID, int64(-5)}, {pgtype.Int8OID, 7}, {pgtype.Int4OID, int64(9)}, {pgtype.Int2OID, int16(-3)},
			{pgtype.BoolOID, true}, {pgtype.ByteaOID, []byte("x\x00y")}, {pgtype.ByteaOID, []byte{}}, {pgtype.ByteaOID, []byte(nil)},
			{pgtype.TextOID, "text"}, {pgtype.Int8OID, nil},
			{pgtype.Int8ArrayOID, []int64{1, -2, 1 << 60}}, {pgtype.Int8ArrayOID, []int64{}}, {pgtype.Int8ArrayOID, []int64(nil)},
			{pgtype.Int4ArrayOID, []int64{1}}, {pgtype.Int2ArrayOID, []int16{1, -1}}, {pgtype.BoolArrayOID, []bool{true, false}},
			{pgtype.TextArrayOID, []string{"", "a", "äö"}}, {pgtype.ByteaArrayOID, [][]byte{nil, {}, []byte("x")}}, {pgtype.ByteaArrayOID, [][]byte{[]byte("x")}},
			{pgtype.ByteaArrayOID, [][]byte(nil)},
		} {
			t.Run(fmt.Sprintf("%d %T %v", test.oid, test.arg, test.arg), func(t *testing.T) {
				v.reset()
				require.NoError(t, v.add(types, pgtype.Int8OID, int64(1)))
				require.NoError(t, v.add(types, test.oid, test.arg))
				want, err := types.Encode(test.oid, v.formats[1], test.arg, make([]byte, 0, 8))
				require.NoError(t, err)
				require.Equal(t, want, v.all[1])
				require.Len(t, v.all, 2)
				require.Len(t, v.formats, 2)
			})
		}
	}
	require.Error(t, v.add(types, pgtype.Int8OID, struct{}{}))
}
