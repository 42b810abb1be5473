// Package pgtest is the Postgres that tests work on: one cluster per test process, and a database of its own for every
// test, cloned from a template that was migrated once.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	setup := func(t *testing.T) *testBundle {
//		t.Helper()
//		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "America/Sao_Paulo"})
//		db.RawEvents(t)
//		return &testBundle{db: db}
//	}
//
// What a run leaves behind is compared with a plain recount in SQL by [RequireExact].
//
// The cluster is set up to bring mistakes to light that would show at a user's only: its default collation is not "C",
// and its sessions' time zone is one that nobody reports in, so whoever writes an instant has to write its zone.
package pgtest
