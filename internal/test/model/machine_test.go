package model_test

// Bounds.
const (
	dates   = 2
	workers = 2
	changes = 3
)

// Entities of a date, in key order, as cursors: above none, above the lower, above the higher.
const (
	none uint8 = iota
	lower
	higher
)

// change is a transaction of the application: it adds or deletes an event, and requests the date.
type change struct {
	date   uint8
	entity uint8
	slice  uint8 // which of a scan's two statements reads it
	delete bool  // of the only event that the entity has
}

var script = [changes]change{
	{date: 0, entity: lower, slice: 1},
	{date: 0, entity: higher, slice: 0, delete: true},
	{date: 1, entity: lower, slice: 0},
}

// Who has claimed a request: nobody, the date's scan, or an earlier scan.
const (
	unclaimed uint8 = iota
	claimed
	stale
)

// States of a date's last run.
const (
	complete uint8 = iota
	running
	brokenOff
)

// States of a date's job. River allows one job per date.
const (
	absent uint8 = iota
	available
	atWork
)

// The places where a worker can be. Between two of them it may crash, be stopped, or count as dead.
const (
	idle uint8 = iota
	look       // checks whether the date is requested
	begin
	claim
	scanFirst
	scanSecond
	publishLower
	publishHigher
	settle
	finish
	breakOff
	await // fenced: waits until the attempt that replaced it has ended
)

// date is a row of the ledger, and the date's job.
type date struct {
	state, cursor uint8
	owner         uint8 // worker of the last run, from 1; 0 if there was none
	job           uint8
	holder        uint8 // worker that attempts the job, from 1; 0 if it is dead
}

// worker is a process.
type worker struct {
	at, date uint8
	after    uint8 // cursor where its run resumes
	fresh    bool  // whether its run scans from the start
	seen     uint8 // which changes its scan has read
	old      bool  // whether its run began before the database went back in time
}

// state is everything.
type state struct {
	committed uint8 // which changes are committed
	published uint8 // which changes are in the metrics
	open      uint8 // whose requests are open
	claims    [changes]uint8
	dates     [dates]date
	workers   [workers]worker
	troubles  uint8 // left: crashes, errors, lost answers, and live runs that count as dead
}

// mutation is a fault of the machine.
type mutation struct{ noFence, noToken, consumeAll, keepCursor, keepVanished, lookOnce bool }

// machine makes steps.
type machine struct {
	mutation

	wrong string // the violation of a step
}

func bit(i int) uint8 { return 1 << i }

func (s *state) has(set uint8, i int) bool { return set&bit(i) != 0 }

// wanted reports whether a request of a date is open, and whether one of them was never claimed.
func (s *state) wanted(d uint8) (open, fresh bool) {
	for i, c := range script {
		if c.date == d && s.has(s.open, i) {
			open, fresh = true, fresh || s.claims[i] == unclaimed
		}
	}
	return open, fresh
}

// alive reports whether the date's run is still working.
func (s *state) alive(d uint8) bool {
	row := s.dates[d]
	if row.state != running || row.owner == 0 {
		return false
	}
	w := s.workers[row.owner-1]
	return w.at > begin && w.at != finish && w.at != await && w.date == d
}

// quiet reports whether nothing is left to do.
func (s *state) quiet() bool {
	for _, w := range s.workers {
		if w.at != idle {
			return false
		}
	}
	for _, d := range s.dates {
		if d.job != absent {
			return false
		}
	}
	return s.committed == bit(changes)-1 && s.open == 0
}

// canonical returns one of the two states that differ only in the numbers of the workers.
func (s *state) canonical() state {
	swapped := *s
	swapped.workers[0], swapped.workers[1] = s.workers[1], s.workers[0]
	for d := range swapped.dates {
		row := &swapped.dates[d]
		if row.owner != 0 {
			row.owner = 3 - row.owner
		}
		if row.holder != 0 {
			row.holder = 3 - row.holder
		}
	}
	if swapped.key() < s.key() {
		return swapped
	}
	return *s
}

// key returns a number that orders the states of workers.
func (s *state) key() uint64 {
	var key uint64
	for _, w := range s.workers {
		key = key<<8 | uint64(w.at)<<4 | uint64(w.date)<<3 | uint64(w.seen)
		key = key<<4 | uint64(w.after)
	}
	for _, d := range s.dates {
		key = key<<4 | uint64(d.owner)<<2 | uint64(d.holder)
	}
	return key
}

// next returns every state that one step leads to.
func (m *machine) next(s state) (all []state) {
	add := func(change func(n *state)) {
		n := s
		change(&n)
		all = append(all, n)
	}
	for i := range script {
		if !s.has(s.committed, i) {
			add(func(n *state) { n.committed |= bit(i); n.open |= bit(i) })
		}
	}
	for d := range uint8(dates) {
		row := s.dates[d]
		open, _ := s.wanted(d)
		if open && row.job == absent && !s.alive(d) { // The reconciler creates a job for a request.
			add(func(n *state) { n.dates[d].job = available })
		}
		if row.job == atWork { // A job whose worker is silent is rescued.
			dead := row.holder == 0
			if dead || s.troubles > 0 {
				add(func(n *state) {
					n.dates[d].job, n.dates[d].holder = available, 0
					if !dead {
						n.troubles--
					}
				})
			}
		}
	}
	if s.troubles > 0 && s.committed != 0 {
		add(func(n *state) { n.troubles--; n.restore() })
	}
	for w := range uint8(workers) {
		if s.workers[w].at != idle && s.troubles > 0 {
			add(func(n *state) { n.troubles--; n.die(w) })
		}
		all = append(all, m.work(s, w)...)
	}
	return all
}

// die ends a process in the middle of its work. Another process replaces it.
func (s *state) die(w uint8) {
	s.workers[w] = worker{}
	for d := range s.dates {
		if s.dates[d].holder == w+1 {
			s.dates[d].holder = 0
		}
	}
}

// restore restores an older copy of the database, in which nothing was requested yet. Workers notice nothing, and the numbers of runs begin again.
// Lost changes are committed again later.
func (s *state) restore() {
	before := start()
	s.committed, s.published, s.open, s.claims, s.dates = before.committed, before.published, before.open, before.claims, before.dates
	for w := range s.workers {
		s.workers[w].old = s.workers[w].at != idle
	}
}

// work returns what a worker's next step leads to: the step succeeds, fails, or succeeds with a lost answer.
func (m *machine) work(s state, w uint8) (all []state) {
	me := s.workers[w]
	if me.at == idle {
		for d := range uint8(dates) {
			if s.dates[d].job == available {
				n := s
				n.dates[d].job, n.dates[d].holder = atWork, w+1
				n.workers[w] = worker{at: look, date: d}
				all = append(all, n)
			}
		}
		return all
	}
	done := s
	m.step(&done, w)
	row := s.dates[me.date]
	if me.at == begin && s.alive(me.date) && row.holder != w+1 {
		// Its attempt is not later than that of the running run, so its job ends without a run, unless that run is silent.
		busy := s
		busy.workers[w].at = finish
		all = append(all, busy)
		if s.troubles == 0 {
			return all
		}
		done.troubles--
		return append(all, done)
	}
	all = append(all, done)
	if s.troubles == 0 || me.at >= finish { // These two are retried until they succeed or the worker dies.
		return all
	}
	for _, n := range []state{s, done} {
		n.troubles--
		switch {
		case me.at == look || me.at == begin: // The attempt fails, maybe after its beginning was recorded.
			n.workers[w] = me
			n.giveBack(w)
		case n.workers[w].at == await:
			continue
		default:
			n.workers[w].at = breakOff
		}
		all = append(all, n)
	}
	return all
}

// giveBack ends an attempt: its job is tried again, if it is still this attempt's.
func (s *state) giveBack(w uint8) {
	d := s.workers[w].date
	if s.dates[d].job == atWork { // River identifies a job only by its number, not by the attempt.
		s.dates[d].job, s.dates[d].holder = available, 0
	}
	s.workers[w] = worker{}
}

// step is one transaction, or one statement, of a run.
func (m *machine) step(s *state, w uint8) {
	me := &s.workers[w]
	row := &s.dates[me.date]
	mine := row.owner == w+1 && row.state == running
	// A fence that compares only numbers mistakes a run for the one that has its number now.
	passes := mine || m.noFence || m.noToken && me.old && row.state == running
	if at := me.at; at == claim || at >= publishLower && at <= settle {
		if !passes {
			me.at = await
			return
		}
		if !mine && at != claim {
			m.wrong = "a run wrote although its date belongs to another run"
		}
	}
	switch me.at {
	case look:
		me.at = begin
		if open, _ := s.wanted(me.date); !open {
			me.at = finish
		}
	case begin:
		m.begin(s, w)
	case claim:
		me.at = scanFirst
		for i, c := range script {
			if me.fresh && c.date == me.date && s.has(s.open, i) {
				s.claims[i] = claimed
			}
		}
	case scanFirst, scanSecond:
		for i, c := range script {
			if c.date == me.date && c.slice == me.at-scanFirst && c.entity > me.after && s.has(s.committed, i) {
				me.seen |= bit(i)
			}
		}
		me.at++
	case publishLower, publishHigher:
		if entity := me.at - publishLower + lower; entity > me.after {
			m.publish(s, *me, entity)
			row.cursor = entity
		}
		me.at++
	case settle:
		m.settle(s, *me)
		row.state, row.cursor, me.at = complete, none, finish
	case finish:
		if row.job == atWork {
			row.job, row.holder = absent, 0
		}
		*me = worker{}
	case await:
		if row.job != atWork || row.holder == w+1 {
			me.at = finish
		}
	case breakOff:
		if mine {
			row.state = brokenOff
		}
		s.giveBack(w)
	}
}

// begin gives the date to the run, unless nobody requests it.
func (m *machine) begin(s *state, w uint8) {
	me := &s.workers[w]
	row := &s.dates[me.date]
	open, unclaimed := s.wanted(me.date)
	if !open && !m.lookOnce {
		me.at = finish
		return
	}
	me.at, me.fresh, me.after = claim, row.cursor == none || unclaimed, row.cursor
	row.state, row.owner, me.old = running, w+1, false
	if !me.fresh {
		return
	}
	if !m.keepCursor {
		row.cursor, me.after = none, none
	}
	for i, c := range script {
		if c.date == me.date && s.claims[i] == claimed {
			s.claims[i] = stale
		}
	}
}

// publish writes an entity's row with the counts of the scan.
func (m *machine) publish(s *state, me worker, entity uint8) {
	for i, c := range script {
		if c.date != me.date || c.entity != entity {
			continue
		}
		seen := me.seen&bit(i) != 0
		if m.keepVanished && c.delete && seen { // The scan counts nothing for the entity, so it does not check the row.
			continue
		}
		s.published &^= bit(i)
		if seen {
			s.published |= bit(i)
		}
	}
}

// settle satisfies the requests that the scan has claimed, whose changes must be in the metrics.
func (m *machine) settle(s *state, me worker) {
	for i, c := range script {
		if c.date != me.date || !s.has(s.open, i) || s.claims[i] != claimed && !m.consumeAll {
			continue
		}
		s.open &^= bit(i)
		if !s.has(s.published, i) {
			m.wrong = "a request was satisfied whose change is not in the metrics"
		}
	}
}
