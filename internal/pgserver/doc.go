// Package pgserver runs Postgres clusters of its own: the one of `daymill demo`, and those the tests work on.
//
// [Find] looks for the server's programs on the machine and installs them where there are none. [Start] makes a
// cluster with them, which has the superuser postgres and listens on the loopback interface alone, where it trusts
// everybody, or where it is private on a socket that nobody else can reach. [Server.Stop] and [Server.Start] end and resume it, [Server.Follower] makes a streaming follower of it, and
// [Server.Close] ends it for good.
//
//	Start ──▶ running ──Stop──▶ stopped ──Close──▶ gone
//	             ▲                 │
//	             └──────Start──────┘
//
// A cluster never outlives the process that started it: a watchdog, which holds the other end of a pipe, shuts it down
// when that process ends in whatever way, kill -9 included.
package pgserver
