// Package pgtest provides Postgres for tests: one cluster per test process, and a separate database for every test, cloned from a template that
// was migrated once.
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
// [RequireExact] compares the result of runs with a plain recount in SQL.
//
// The cluster is set up to reveal mistakes that would otherwise show only at a user's: its default collation is not "C", and its sessions' time
// zone is one that nobody reports in, so an instant has to be written with its zone.
package pgtest
