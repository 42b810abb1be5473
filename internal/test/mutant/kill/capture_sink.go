package main

// Packages and files of sinks that several mutants use.
const (
	webhookPkg = "./internal/capture/sink/webhook"
	redisPkg   = "./internal/capture/sink/redis"

	webhookGo = "internal/capture/sink/webhook/webhook.go"
	clientGo  = "internal/webhook/webhook.go"
	redisGo   = "internal/capture/sink/redis/redis.go"
	pollSQL   = "migrations/0022_poll.up.sql"
)

// receivers has mutants of what keeps the targets of sinks right, and their secrets and networks closed.
func receivers() []broken {
	return []broken{
		edit("Capture/Sink/Webhook/Private", webhookPkg, "^TestWebhook_Private$", "internal/webhook/address.go", "", "if !public(parsed) {", "if !public(parsed) && host == \"\" {"),
		edit("Capture/Sink/Webhook/Redirect", webhookPkg, "^TestWebhook_Answers$", clientGo, "", "return http.ErrUseLastResponse }", "return nil }"),
		edit("Capture/Sink/Webhook/RetryAfter", webhookPkg, "^TestWebhook_Answers$", webhookGo, "", "answer.RetryAfter > 0 {", "answer.RetryAfter < 0 {"),
		edit("Capture/Sink/Webhook/Signature", webhookPkg, "^TestWebhook_Body$|^TestWebhook_Recorded$", clientGo, "", "c.signer.Sign(id, now, body)", "c.signer.Sign(id, now, body[:1])"),
		edit("Capture/Sink/Redis/Older", redisPkg, "^TestRedis$", redisGo, "", "if at and tonumber(at) > tonumber(ARGV[1]) then return 0 end", "if at and false then return 0 end"),
		edit("Capture/Sink/Redis/Tombstone", redisPkg, "^TestRedis$", redisGo, "", "redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2]) return 1", "redis.call('DEL', KEYS[2]) return 1"),
		edit("Capture/Sink/Redis/StreamTwice", redisPkg, "^TestRedis$|^TestRedis_Replay$", redisGo, "", "if #redis.call('XRANGE', KEYS[1], id, id) > 0 then return 0 end", ""),
		edit("Capture/Sink/Search/Version", "./internal/capture/sink/search", "^TestSearch$", "internal/capture/sink/search/search.go", "", "\"version\": i.Position,", "\"version\": 1 + 0*i.Position,"),
		edit("Capture/Sink/NATS/Repeats", "./internal/capture/sink/nats", "^TestNATS_Repeats$", "internal/capture/sink/nats/nats.go", "", "message.Header.Set(jetstream.MsgIDHeader,", "message.Header.Set(\"Other\","),
	}
}

// holds has mutants of how long the log waits for a consumer, what happens then, and who may fetch its changes.
func holds() []broken {
	return []broken{
		edit("Capture/Hold/Pause", logPkg, "^TestMaintain$", "internal/capture/log/partition.go", "", "if err := w.leave(ctx, tx, queries, p.Upto); err != nil {", "if err := ctx.Err(); err != nil {"),
		edit("Capture/Hold/Resume", snapshotPkg, "^TestRun_Gap$", "internal/capture/consumer/consumer.go", "func Resume(", "if left {", "if left && name == \"\" {"),
		edit("Capture/Hold/Views", logPkg, "^TestMaintain$", "internal/db/capture.sql.go", "const logPartitionOld =", "c.kind IN ('view', 'rollup') OR", ""),
		edit("Capture/Poll/Fence", consumerPkg, "^TestPoll", pollSQL, "FUNCTION capture.ack(", "s.poller IS DISTINCT FROM who OR s.polled_fence <> s.fence", "false"),
		edit("Capture/Poll/Lease", consumerPkg, "^TestPoll", pollSQL, "", "OR s.poller <> who AND s.polled_until > clock_timestamp() AND s.polled_fence = s.fence AND s.polled > s.position THEN", "THEN"),
		edit("Capture/Schema/Pause", consumerPkg, "^TestRun_SchemaChange$", "internal/capture/consumer/accept.go", "", "case reason == \"\":", "case reason == \"\" || i >= 0:"),
	}
}

// contract has mutants of what makes both modes the same, and of what they must not call or capture.
func contract() []broken {
	return []broken{
		edit("Capture/Contract/Moved", streamPkg, "^TestContract$/^OwnTypes$", triggerReadGo, "", "c.KeyChanged && len(t.Parts) == 0", "c.KeyChanged && len(t.Parts) >= 0"),
		edit("Capture/Contract/MovedWAL", streamPkg, "^TestContract$/^OwnTypes$", "internal/capture/wal/decode.go", "", "r.partitioned = len(described.Parts) > 0", "r.partitioned = len(described.Parts) < 0"),
		edit("Capture/Contract/CastWAL", streamPkg, "^TestCast$", "internal/capture/value/value.go", "", "t.oid >= 16384 AND (r.rolsuper OR r.rolname = current_user)", "t.oid >= 16384"),
		edit("Capture/Contract/CastTrigger", streamPkg, "^TestCast$", "internal/capture/trigger/install.sql", "", "AND (r.rolsuper OR r.rolname = current_user)", ""),
		edit("Capture/Contract/Own", "./internal/capture/table", "^TestFind$", "internal/capture/table/table.go", "", "slices.Contains(reserved, t.Schema) ||", "len(reserved) == 0 ||"),
		edit("Capture/Keys/Gone", streamPkg, "^TestTrigger_Keys$", triggerReadGo, "", "if !c.LookedUp || c.New != nil {", "if !c.LookedUp || c.New != nil || c.Ordinal > 0 {"),
		edit("Capture/Keys/Written", streamPkg, "^TestTrigger_Keys$", "internal/capture/trigger/install.go", "", "newRow, newObject = none, literal(none)", "newRow = none"),
		edit("Capture/Keys/Size", "./internal/capture/trigger", "^TestReader_Keys$", triggerReadGo, "", "if size >= maxBytes {", "if size < 0 {"),
		edit("Capture/Keys/Mark", "./internal/capture/trigger", "^TestReader_Keys$", triggerReadGo, "", "Seq: all.seqs[upTo-1]}", "Seq: all.Mark.Seq}"),
		edit("Capture/Gap/Backwards", streamPkg, "^TestTrigger_Gap$", triggerReadGo, "", "case backwards:", "case backwards && emptied:"),
		edit("Capture/Gap/Warning", streamPkg, "^TestWAL_Guard$", "internal/capture/stream/guard.go", "", "return min(o.Warn, limit/2)", "return min(o.Warn, limit*2)"),
	}
}
