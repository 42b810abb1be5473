// Package pgserver runs temporary Postgres clusters, for `daymill demo` and for tests.
//
// [Find] looks for the server's programs on the machine. [Start] creates a cluster with the superuser postgres. It listens only on
// the loopback interface, where it trusts everybody, or, if it is private, on a socket that nobody else can reach. [Server.Stop] and
// [Server.Start] stop and resume the cluster, [Server.Follower] creates a streaming follower of it, and [Server.Close] removes it.
//
//	Start ──▶ running ──Stop──▶ stopped ──Close──▶ gone
//	             ▲                 │
//	             └──────Start──────┘
//
// A cluster never outlives the process that started it. A watchdog holds the other end of a pipe, and shuts the cluster down when
// that process ends, even by kill -9.
package pgserver
