//! What the library logs: constant messages with structured fields, through [`tracing`].
//!
//! Messages and fields are public API: alarms are built on them. `tests/telemetry.rs` compares this
//! table with the code.
//!
//! | level | message | fields | what to do |
//! |---|---|---|---|
//! | info | `recovered` | commits, ms, clean | nothing |
//! | info | `a failed service is tried again` | service | nothing |
//! | warn | `restarting` | service, cause, after | look at the cause if it repeats |
//! | warn | `a message became a dead letter` | service, reason | look at it, then redrive or discard it |
//! | warn | `a turn is slow` | service, took | find what its handler waits for or computes |
//! | warn | `the wall clock has jumped; forward is followed, backward is waited out` | micros | look at the machine's time service |
//! | warn | `the process ended while this message was in hand; an attempt is counted` | service, message, attempt | look at the message if it repeats |
//! | warn | `what was in hand is not found; its way in runs suspect` | service, what | nothing; it ends with the next checkpoint |
//! | warn | `the running file cannot be written back` | error | look at the disk; an attempt may be counted twice |
//! | warn | `failpoints are active` | points | never in production |
//! | warn | `published events are missing from the event log` | gaps | readers see a gap; restore a backup if they must not |
//! | warn | `a published event cannot be read` | number, error | look at the disk; readers see a gap |
//! | warn | `the engine is rebuilt` | reason | nothing; the start takes longer |
//! | warn | `what this cell was restored from cannot be read` | detail | look at the disk, and run `verify`; readers of events from before the restore begin anew |
//! | warn | `a snapshot is named for another position` | path | remove the file if you put it there |
//! | warn | `a snapshot cannot be used` | path, error | look at the disk |
//! | warn | `a snapshot lacks rows and cannot be used` | path | look at the disk, and run `verify` |
//! | warn | `the next start is not told to look at the engine` | path, error | remove the engine's directory (`sled`) before the next start, which makes it anew |
//! | warn | `spilled messages cannot be read` | error | look at the disk; it is tried again |
//! | warn | `a file of spilled messages cannot be removed` | path, error | nothing; the next start removes it |
//! | warn | `engine failed while closing` | dir | nothing; the next start rebuilds it if it must |
//! | warn | `the disk is full; the reserve is used to make room` | | free some space |
//! | warn | `the disk is nearly full; the reserve is used for a checkpoint` | `free` | free some space |
//! | warn | `maintenance of the store failed` | error | look at the disk |
//! | warn | `connection cut off at the end of the drain` | peer | nothing, or allow more time to drain |
//! | warn | `connection not accepted` | error | raise the limit of open files |
//! | warn | `fewer connections than configured: the process may open too few files` | connections_max | raise the limit of open files |
//! | warn | `call refused by a failed service` | service, reason | look at the service's failure |
//! | error | `a handler panicked` | service, message, reason | a bug in the handler |
//! | error | `a message that panicked could not be charged` | service, error | repair what the error names |
//! | error | `the service has failed` | service, reason | repair the reason, then revive it |
//! | error | `the engine is not used any more; the next start looks at all of it` | error | look at the disk, and start again |
//! | error | `a supervisor failed` | service, error | a bug of the library; report it |
//! | error | `a turn hangs; aborting, its message is charged` | service, took | a bug in the handler: it blocks |
//! | error | `messages of another incarnation are refused` | stream | a backup was restored beside its original |
//! | error | `an output of a commit panicked` | | a bug of the library; report it |
//! | error | `a thread of the store panicked` | | a bug of the library; report it |
//! | error | `failpoints are ignored` | variable, error | correct the variable |
//! | error | `route panicked` | panic | a bug in a route of the host |
//! | error | `request failed` | rejection | a rejection of the host's routes that nobody answers |
//! | error | `answer has no json form` | error | a bug in a reply's `Serialize` |
//! | error | `a backup failed` | error | look at the disk that it was to go to, and at the store |
//! | error | `a backup ended in a panic` | error | a bug of the library; report it |
//! | error | `turn failed` | code, error | look at the store |
//! | error | `outcome of a call unknown` | reason | restart; the caller asks again |
//! | debug | `request answered` | status | |
//! | debug | `event stream ended` | reason | |
//! | debug | `no request` | request_id, status | it could not be read; the client was told |
//! | debug | `connection ended early` | peer, error | |
//!
//! What `http::metrics` shows: names, kinds and labels are public API too, and
//! `tests/http` compares this table with what a server answers.
//!
//! | metric | kind | labels | what it is |
//! |---|---|---|---|
//! | `redeliver_ready` | gauge | | 1 if the system can take work |
//! | `redeliver_service_restarts_total` | counter | service | Restarts of any of its actors |
//! | `redeliver_service_panics_total` | counter | service | Panics of its handlers |
//! | `redeliver_service_turns_total` | counter | service | Turns committed |
//! | `redeliver_service_requests_waiting` | gauge | service | Requests from outside that wait for a turn |
//! | `redeliver_service_messages_waiting` | gauge | service | Messages of services that wait for a turn |
//! | `redeliver_service_parked` | gauge | service | Messages parked for another attempt |
//! | `redeliver_service_timers` | gauge | service | Timers set |
//! | `redeliver_service_activities` | gauge | service | Activities whose end has not been handled |
//! | `redeliver_service_dead_letters` | gauge | service | Dead letters kept |
//! | `redeliver_service_up` | gauge | service | 1 if the service runs |
//! | `redeliver_stream_sent_total` | counter | from, to | Messages promised since the stream began |
//! | `redeliver_stream_accepted_total` | counter | from, to | Messages that the receiver has consumed |
//! | `redeliver_stream_applied_total` | counter | from, to | Turns that succeeded |
//! | `redeliver_stream_rejected_total` | counter | from, to | Messages refused, with the sender told |
//! | `redeliver_stream_discarded_total` | counter | from, to | Dead letters thrown away |
//! | `redeliver_stream_waiting` | gauge | from, to | Messages that wait in the outbox |
//! | `redeliver_stream_spilled` | gauge | from, to | Those of them that wait on disk |
//! | `redeliver_stream_parked` | gauge | from, to | Messages parked for another attempt |
//! | `redeliver_stream_dead` | gauge | from, to | Dead letters |
//! | `redeliver_store_queued_position` | gauge | | Newest position queued |
//! | `redeliver_store_durable_position` | gauge | | Newest durable position |
//! | `redeliver_store_checkpoint_position` | gauge | | Position of the last checkpoint |
//! | `redeliver_store_uncheckpointed_bytes` | gauge | | Bytes not yet checkpointed |
//! | `redeliver_store_outbox_memory_bytes` | gauge | | Memory of messages that wait |
//! | `redeliver_store_outbox_spilled_bytes` | gauge | | Bytes of messages that wait on disk |
//! | `redeliver_store_journal_bytes_total` | counter | | Bytes written to the journal |
//! | `redeliver_store_journal_syncs_total` | counter | | Syncs of the journal |
//! | `redeliver_store_disk_syncs_total` | counter | | Syncs of any file or directory |
//! | `redeliver_recovered_commits` | gauge | | Commits that the last start replayed |
//! | `redeliver_service_state` | gauge | service, state | 1 for the state that the service is in |
//! | `redeliver_recovered_seconds` | gauge | | How long the last start took to recover |
//! | `redeliver_events_last` | gauge | | Number of the newest durable event |
//! | `redeliver_http_answers_total` | counter | status | Answers of this server, by status |
