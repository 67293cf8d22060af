package pgstore

import "sync"

// seen is what reads have found of executions that this process owns, for the writer. Who
// reads an inbox writes next what is in it: with the row as others have left it, the writer
// need not read that again before.
type seen struct {
	mu    sync.Mutex
	works map[uint64]*work
}

// take keeps a row that was read. It may be old by now, as all that is kept.
func (s *seen) take(w *work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.works == nil {
		s.works = make(map[uint64]*work)
	}
	if had := s.works[w.row.Number]; had == nil || had.rev < w.rev {
		s.works[w.row.Number] = w
	}
}

// catchUp has the writer believe what was seen, if it knows nothing newer.
func (s *seen) catchUp(w *writer, process int64) {
	s.mu.Lock()
	works := s.works
	s.works = nil
	s.mu.Unlock()
	for number, x := range works {
		if had, ok := w.cache[number]; x.owner == process && (!ok || had.rev < x.rev) {
			w.cache[number] = believed{x}
			w.ids[x.row.ID] = number
		}
	}
}
