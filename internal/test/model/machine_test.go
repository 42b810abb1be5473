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

// change is a transaction of the application's: it adds an event or deletes one, and asks for the date.
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

// Where a request's claim is: with nobody, with the date's scan, or with one before it.
const (
	unclaimed uint8 = iota
	claimed
	stale
)

// What a date's last run has come to.
const (
	complete uint8 = iota
	running
	brokenOff
)

// What a date's job is: River lets it have one.
const (
	absent uint8 = iota
	available
	atWork
)

// The place where a worker is. Between two of them it may crash, be stopped, or be taken for dead.
const (
	idle uint8 = iota
	look       // whether anybody asks for the date
	begin
	claim
	scanFirst
	scanSecond
	publishLower
	publishHigher
	settle
	finish
	breakOff
	await // fenced: until the attempt that has replaced it has ended
)

// date is a row of the ledger, and the date's job.
type date struct {
	state, cursor uint8
	owner         uint8 // the worker whose run began last, from 1; 0 if there was none
	job           uint8
	holder        uint8 // the worker that attempts the job, from 1; 0 if that is dead
}

// worker is a process.
type worker struct {
	at, date uint8
	after    uint8 // the cursor that its run resumes at
	fresh    bool  // whether its run scans from the start
	seen     uint8 // which changes its scan has read
	old      bool  // whether its run began before the database went back in time
}

// state is everything.
type state struct {
	committed uint8 // which changes are
	published uint8 // which changes are in the metrics
	open      uint8 // whose request is
	claims    [changes]uint8
	dates     [dates]date
	workers   [workers]worker
	troubles  uint8 // to come: crashes, errors, lost answers, and runs taken for dead that are alive
}

// mutation is a way in which the machine is broken.
type mutation struct{ noFence, noToken, consumeAll, keepCursor, keepVanished, lookOnce bool }

// machine makes steps.
type machine struct {
	mutation

	wrong string // what a step did that none may do
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

// alive reports whether the run that the date belongs to is at work.
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

// canonical is one of the two states that differ in nothing but which worker is called the first.
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

// key orders what workers do and hold.
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
		if open && row.job == absent && !s.alive(d) { // The reconciler makes a job of a request.
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

// die ends a process in the middle of whatever it does; another one takes its place.
func (s *state) die(w uint8) {
	s.workers[w] = worker{}
	for d := range s.dates {
		if s.dates[d].holder == w+1 {
			s.dates[d].holder = 0
		}
	}
}

// restore brings an older copy of the database back, in which nothing has been asked for yet. Workers notice nothing, and the
// numbers of runs begin again. What is lost is committed again later.
func (s *state) restore() {
	before := start()
	s.committed, s.published, s.open, s.claims, s.dates = before.committed, before.published, before.open, before.claims, before.dates
	for w := range s.workers {
		s.workers[w].old = s.workers[w].at != idle
	}
}

// work returns what a worker's next step leads to: it is done, or it fails, or it is done and the answer is lost.
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
		// It is no later attempt than the run that is at work: its job is done without a run, unless that is silent.
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
	if s.troubles == 0 || me.at >= finish { // Those two are tried until they succeed, or it dies.
		return all
	}
	for _, n := range []state{s, done} {
		n.troubles--
		switch {
		case me.at == look || me.at == begin: // The attempt fails, perhaps after it was written down that it began.
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
	if s.dates[d].job == atWork { // River knows a job by its number only, not by the attempt.
		s.dates[d].job, s.dates[d].holder = available, 0
	}
	s.workers[w] = worker{}
}

// step is one transaction, or one statement, of a run.
func (m *machine) step(s *state, w uint8) {
	me := &s.workers[w]
	row := &s.dates[me.date]
	mine := row.owner == w+1 && row.state == running
	// A fence that compares numbers takes a run for the one that has its number now.
	passes := mine || m.noFence || m.noToken && me.old && row.state == running
	if at := me.at; at == claim || at >= publishLower && at <= settle {
		if !passes {
			me.at = await
			return
		}
		if !mine && at != claim {
			m.wrong = "a run wrote whose date is another's"
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

// begin hands the date to the run, unless nobody asks for it.
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

// publish writes an entity's row as the scan has counted it.
func (m *machine) publish(s *state, me worker, entity uint8) {
	for i, c := range script {
		if c.date != me.date || c.entity != entity {
			continue
		}
		seen := me.seen&bit(i) != 0
		if m.keepVanished && c.delete && seen { // It counts nothing, so it does not look at the row.
			continue
		}
		s.published &^= bit(i)
		if seen {
			s.published |= bit(i)
		}
	}
}

// settle satisfies the requests that the scan has claimed, whose changes have to be in the metrics.
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
