package proc

import "errors"

// Tracker knows what processes had used at its start.
type Tracker struct {
	pids   []int
	before []Usage
}

// Track starts to count what processes use.
func Track(pids ...int) (*Tracker, error) {
	t := &Tracker{pids: pids}
	before, err := t.look()
	t.before = before
	return t, err
}

func (t *Tracker) look() ([]Usage, error) {
	var errs []error
	all := make([]Usage, len(t.pids))
	for i, pid := range t.pids {
		u, err := Of(pid)
		all[i] = u
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// Each returns what each process used since Track, in the order given there: times
// as differences, memory and the rest as they are now.
func (t *Tracker) Each() ([]Usage, error) {
	now, err := t.look()
	if err != nil {
		return nil, err
	}
	for i, b := range t.before {
		now[i].CPU -= b.CPU
		now[i].User -= b.User
		now[i].System -= b.System
	}
	return now, nil
}

// Stop returns the sum of Each.
func (t *Tracker) Stop() (Usage, error) {
	each, err := t.Each()
	return Sum(each...), err
}

// Sum adds up what processes used.
func Sum(all ...Usage) Usage {
	var s Usage
	for _, u := range all {
		s.CPU += u.CPU
		s.User += u.User
		s.System += u.System
		s.RSS += u.RSS
		s.PeakRSS += u.PeakRSS
		s.Anon += u.Anon
		s.File += u.File
		s.Threads += u.Threads
		s.FDs += u.FDs
	}
	return s
}
