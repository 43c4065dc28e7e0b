/* The C ABI between aegis-worker and a plugin, version 1.
 *
 * Generated from plugin-api/src/abi.rs and abi/interfaces.rs: edit those. Read along with them
 * examples/c-plugin, a whole plugin in one file.
 *
 * Rules:
 *
 * - A table begins with `struct_size`. It grows at its end only. A reader uses a
 *   field if it lies within `struct_size` and, for a pointer, is not null.
 *   AegisBytes, AegisBuffer, AegisInstance and AegisCompletion never grow.
 * - All that is optional is an interface with a revisioned id, such as
 *   `aegis.node-control/1`, asked for through `get_interface`. An id never
 *   changes its meaning.
 * - Enumerations cross as `uint32_t` and are checked by the receiver.
 * - Texts are UTF-8 without a terminator; documents are JSON.
 * - No function unwinds into the other side.
 * - A function may be called from any thread, and from several at once, unless
 *   its comment says otherwise.
 */

#ifndef AEGIS_PLUGIN_H
#define AEGIS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

/* The target triple, as a worker compares it with its own. */
#if defined(__APPLE__) && defined(__aarch64__)
#define AEGIS_PLUGIN_TARGET "aarch64-apple-darwin"
#elif defined(__APPLE__) && defined(__x86_64__)
#define AEGIS_PLUGIN_TARGET "x86_64-apple-darwin"
#elif defined(__linux__) && defined(__GLIBC__) && defined(__x86_64__)
#define AEGIS_PLUGIN_TARGET "x86_64-unknown-linux-gnu"
#elif defined(__linux__) && defined(__GLIBC__) && defined(__aarch64__)
#define AEGIS_PLUGIN_TARGET "aarch64-unknown-linux-gnu"
#elif defined(__linux__) && defined(__x86_64__)
#define AEGIS_PLUGIN_TARGET "x86_64-unknown-linux-musl"
#elif defined(__linux__) && defined(__aarch64__)
#define AEGIS_PLUGIN_TARGET "aarch64-unknown-linux-musl"
#endif

/* Puts the manifest, a JSON text in one string literal, into the section where a
 * worker reads it before any code of the plugin runs, as
 * `static const char aegis_plugin_manifest[]`. Use it once, at file scope. Its
 * `symbol` is the name of the exported descriptor, which begins with
 * `aegis_plugin_v1_`. */
#if defined(__APPLE__)
#define AEGIS_PLUGIN_SECTION "__DATA,__aegis"
#else
#define AEGIS_PLUGIN_SECTION ".aegis.plugin"
#endif
#define AEGIS_PLUGIN_MANIFEST(json)                                              \
    __attribute__((used, section(AEGIS_PLUGIN_SECTION)))                         \
    static const char aegis_plugin_manifest[] = json

/* The bytes of a string literal or a char array, without its NUL. */
#define AEGIS_BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}

/* Exports the descriptor from a library in which all else is hidden. */
#if defined(__cplusplus)
#define AEGIS_PLUGIN_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define AEGIS_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif

// `AEGISPLG` in memory on a little-endian machine: the first bytes of a descriptor.
#define AEGIS_PLUGIN_MAGIC 5137569593564808513

// Changes only if plugins must be built anew.
#define AEGIS_ABI_MAJOR 1

// Grows with every appended field or function.
#define AEGIS_ABI_MINOR 0

// A panic in the plugin unwinds and is caught by the plugin itself. A plugin
// without this flag is refused in-process.
#define AEGIS_FLAG_UNWINDS 1

// No `start` of this plugin ever blocks its caller.
#define AEGIS_FLAG_START_NEVER_BLOCKS 2

// The function did what it says.
#define AEGIS_OK 0

// It did not; the buffer holds an error document.
#define AEGIS_ERROR 1

// The deadline passed first.
#define AEGIS_TIMEOUT 2

// No such call: it is over, was never made, or is another's.
#define AEGIS_UNKNOWN_CALL 3

// `load` of `aegis.checkpoint/1`: the command has no checkpoint.
#define AEGIS_NO_CHECKPOINT 4

// `start`: the call is over; its completion is in the out parameter.
#define AEGIS_START_DONE 0

// `start`: the call runs on; the plugin will call `complete` once.
#define AEGIS_START_PENDING 1

// `start`: the call was not taken and had no effect; the out parameter may
// hold an error.
#define AEGIS_START_REFUSED 2

// The buffer is the response document.
#define AEGIS_STATUS_OK 0

// The buffer is an error document.
#define AEGIS_STATUS_ERROR 1

// The handler ended because of its cancellation; the buffer may be empty or an
// error document.
#define AEGIS_STATUS_CANCELLED 2

// The handler panicked; the buffer is an error document with file and line.
// The instance takes no further calls, refuses them with the error code
// `plugin-poisoned`, and is to be destroyed.
#define AEGIS_STATUS_PANICKED 3

// `cancel`: an operator asked for it.
#define AEGIS_CANCEL_REQUESTED 1

// `cancel`: the timeout passed.
#define AEGIS_CANCEL_DEADLINE 2

// `cancel`: the worker shuts down.
#define AEGIS_CANCEL_SHUTDOWN 3

// `cancel`: the grace after an earlier cancel is over. The plugin drops the
// call where it can and completes it at once.
#define AEGIS_CANCEL_ABANDON 4

// `log` levels, in the order of urgency; 0 in `log_level` turns all off.
// This one: something failed.
#define AEGIS_LOG_ERROR 1

// Something is wrong and the plugin goes on.
#define AEGIS_LOG_WARN 2

// What an operator wants to know.
#define AEGIS_LOG_INFO 3

// For whoever looks for a fault.
#define AEGIS_LOG_DEBUG 4

// Every step.
#define AEGIS_LOG_TRACE 5

// `progress`: the handler cannot tell how far it is.
#define AEGIS_PROGRESS_UNKNOWN 1001

// `deadline_ns`: none.
#define AEGIS_NO_DEADLINE UINT64_MAX

// The longest checkpoint, in bytes.
#define AEGIS_MAX_CHECKPOINT_BYTES 65536

// The most bytes of a key of `aegis.kv/1`.
#define AEGIS_KV_MAX_KEY_BYTES 256

// The most bytes of a value of `aegis.kv/1`.
#define AEGIS_KV_MAX_VALUE_BYTES 65536

// The most keys that a plugin has in `aegis.kv/1`.
#define AEGIS_KV_MAX_KEYS 4096

// The most bytes that all keys and values of a plugin have in `aegis.kv/1`.
#define AEGIS_KV_MAX_BYTES 1048576

// The most keys that `list` of `aegis.kv/1` answers with, and how many where it
// is not told.
#define AEGIS_KV_MAX_PAGE 256

// A borrowed run of bytes. `data` may be null where `len` is 0. Valid until
// the function that it was passed to returns, or, in a descriptor, for the
// life of the process.
typedef struct AegisBytes {
    // The first byte.
    const uint8_t *data;
    // How many.
    size_t len;
} AegisBytes;

// An owned run of bytes. Whoever holds it calls `release` exactly once, on any
// thread, or never if `release` is null (static bytes). Only the side that
// made it frees it.
typedef struct AegisBuffer {
    // The first byte; may be null where `len` is 0.
    const uint8_t *data;
    // How many.
    size_t len;
    // Handed to `release` as it is.
    void *owner;
    // Frees the bytes.
    void (*release)(void *owner, const uint8_t *data, size_t len);
} AegisBuffer;

// How a call ended.
typedef struct AegisCompletion {
    // `AEGIS_STATUS_…`.
    uint32_t status;
    // 0.
    uint32_t reserved;
    // What it says depends on `status`. Ownership passes with the completion.
    //
    // An error document is a JSON object: `code` (stable, in lower case with
    // hyphens), `message`, and optionally `help`, `retryable` (a boolean) and
    // `retry_after_ms`.
    struct AegisBuffer buffer;
} AegisCompletion;

// What a host can do. Stays valid until `destroy` of the instance returns.
// No function blocks.
typedef struct AegisHostVtable {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // `AEGIS_ABI_MINOR` as the host knows it.
    uint32_t abi_minor;
    // The most talkative level that `log` still takes. Read it atomically; it
    // changes while the plugin runs.
    const uint32_t *log_level;
    // Ends a call. The host takes the buffer in every case. `AEGIS_UNKNOWN_CALL`
    // if the call is over or not this instance's.
    uint32_t (*complete)(void *host_ctx,
                         uint64_t call_id,
                         const struct AegisCompletion *completion);
    // Says how far a call is: 0 to 1000, or `AEGIS_PROGRESS_UNKNOWN`. Only
    // the newest is kept.
    uint32_t (*progress)(void *host_ctx,
                         uint64_t call_id,
                         uint32_t permille,
                         struct AegisBytes note);
    // Appends to the call's output. What goes beyond the limit is counted and
    // cut.
    uint32_t (*output)(void *host_ctx, uint64_t call_id, struct AegisBytes data);
    // 0, or the `AEGIS_CANCEL_…` that was asked for.
    uint32_t (*is_cancelled)(void *host_ctx, uint64_t call_id);
    // Writes to the worker's log. `call_id` is 0 outside calls; `target` names
    // the part of the plugin; `fields` is empty or a JSON object.
    void (*log)(void *host_ctx,
                uint64_t call_id,
                uint32_t level,
                struct AegisBytes target,
                struct AegisBytes message,
                struct AegisBytes fields);
    // Finds an interface that the operator granted to this plugin. Null where
    // the host has none by that id or did not grant it.
    const void *(*get_interface)(void *host_ctx, struct AegisBytes id);
} AegisHostVtable;

// What `create` is given. Valid until `create` returns, but for `host` and
// `host_ctx`, which stay valid until `destroy` returns.
typedef struct AegisCreateArgs {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // The host's functions. Never null.
    const struct AegisHostVtable *host;
    // Handed to every one of them.
    void *host_ctx;
    // The plugin's section of the config, a JSON object.
    struct AegisBytes config;
    // The node, a JSON object: `node_id`, `role`, `tags`, `worker_version`.
    struct AegisBytes node;
    // The path of a directory that is this plugin's alone. It exists.
    struct AegisBytes state_dir;
} AegisCreateArgs;

// One call of a handler.
typedef struct AegisCall {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // Which handler: its index in the manifest's `handlers`.
    uint32_t handler;
    // Names this call to the host. Never 0, never used again by this process.
    uint64_t call_id;
    // Nanoseconds from now until the timeout, or `AEGIS_NO_DEADLINE`.
    uint64_t deadline_ns;
    // The command's id: a UUID in its hyphenated form.
    struct AegisBytes command_id;
    // The request document.
    struct AegisBytes payload;
    // Who gave the command.
    struct AegisBytes issuer;
    // A W3C trace context, or empty.
    struct AegisBytes traceparent;
    // 1 for the first attempt at this command.
    uint32_t attempt;
    // 0.
    uint32_t reserved;
} AegisCall;

// What an instance can do.
typedef struct AegisInstanceVtable {
    // The size of this struct as the plugin knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // Begins a call and answers with `AEGIS_START_…`. `call` is valid until
    // `start` returns. `out` is zeroed and is filled in on
    // `AEGIS_START_DONE`. The plugin may call `complete` for this call before
    // `start` has returned `AEGIS_START_PENDING`.
    uint32_t (*start)(void *ctx, const struct AegisCall *call, struct AegisCompletion *out);
    // Asks that a call end. Never blocks. The call still completes once. An
    // id that is over is ignored.
    void (*cancel)(void *ctx, uint64_t call_id, uint32_t reason);
    // Gives a new config, a JSON object. On `AEGIS_ERROR` the old one stays
    // in force. May block for a bounded time; never called twice at once.
    uint32_t (*reconfigure)(void *ctx, struct AegisBytes config, struct AegisBuffer *error);
    // Refuses new calls from now on, waits for the running ones, ends the
    // plugin's threads. Answers `AEGIS_TIMEOUT` if calls still run after
    // `timeout_ns`. After `AEGIS_OK` the plugin calls nothing of the host
    // any more.
    uint32_t (*quiesce)(void *ctx, uint64_t timeout_ns);
    // Frees the instance. Called once, after `quiesce` answered `AEGIS_OK`,
    // with no other call under way.
    void (*destroy)(void *ctx);
    // Finds an interface of this instance. Null where it has none by that id.
    const void *(*get_interface)(void *ctx, struct AegisBytes id);
} AegisInstanceVtable;

// A running plugin.
typedef struct AegisInstance {
    // Handed to every function of the table.
    void *ctx;
    // Stays valid until `destroy` returns.
    const struct AegisInstanceVtable *vtable;
} AegisInstance;

// The exported constant by which a host knows a plugin. Its symbol is
// `aegis_plugin_v1_` followed by a name of the plugin's own choice, which the
// manifest records under `symbol`.
//
// The manifest is a JSON document that the file also carries, closed by a NUL
// byte, in the section `.aegis.plugin` (ELF) or `__DATA,__aegis` (Mach-O), so
// that it is read before any code of the plugin runs. The two must be equal.
typedef struct AegisPluginDescriptor {
    // `AEGIS_PLUGIN_MAGIC`.
    uint64_t magic;
    // The size of this struct as the plugin knows it.
    uint32_t struct_size;
    // `AEGIS_ABI_MAJOR` as the plugin knows it.
    uint16_t abi_major;
    // `AEGIS_ABI_MINOR` as the plugin knows it.
    uint16_t abi_minor;
    // The lowest minor of a host that the plugin works with.
    uint16_t min_host_minor;
    // 0.
    uint16_t reserved;
    // `AEGIS_FLAG_…`; a host ignores those that it does not know.
    uint32_t flags;
    // The plugin's name, as in the config's `[plugins.NAME]`.
    struct AegisBytes id;
    // The plugin's own version.
    struct AegisBytes version;
    // Name and version of what it was written with.
    struct AegisBytes sdk;
    // The compiler.
    struct AegisBytes toolchain;
    // The target triple.
    struct AegisBytes target;
    // The manifest, without its NUL.
    struct AegisBytes manifest;
    // Makes an instance. Runs once per instance, on a thread where it may
    // block for a bounded time. On `AEGIS_OK` it has filled in `out`. On
    // `AEGIS_ERROR` it has left `out` alone and may have filled in `error`.
    uint32_t (*create)(const struct AegisCreateArgs *args,
                       struct AegisInstance *out,
                       struct AegisBuffer *error);
    // Finds an interface that needs no instance, such as `aegis.schema/1`.
    // Null where the plugin has none by that id. The table lives as long as
    // the process.
    const void *(*get_interface)(struct AegisBytes id);
} AegisPluginDescriptor;

// Interface `aegis.schema/1` of a descriptor: the JSON Schemas of a handler,
// where the manifest does not carry them.
typedef struct AegisSchemaV1 {
    // The size of this struct.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // Writes a JSON object with `request` and `response` to `out`.
    uint32_t (*handler)(uint32_t handler, struct AegisBuffer *out);
    // Writes the JSON Schema of the plugin's config to `out`.
    uint32_t (*config)(struct AegisBuffer *out);
} AegisSchemaV1;

// A function of a host interface: takes a JSON object, writes a JSON object to
// `out` on `AEGIS_OK` and an error document on `AEGIS_ERROR`. The caller
// releases `out`.
typedef uint32_t (*AegisJsonFn)(void *host_ctx,
                                struct AegisBytes request,
                                struct AegisBuffer *out);

// Interface `aegis.node-control/1` of a host. Grant: `node-control`. `drain`
// may block until the drain is written down: not for inline handlers. The
// others do not block.
typedef struct AegisNodeControlV1 {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // Begins, changes or undoes a drain: `drain` (a boolean), `deadline_ms`
    // (from now; optional), `reason` (optional). Answers with the status.
    AegisJsonFn drain;
    // The drain's status: `draining`, `started_at`, `deadline`, `finished_at`
    // (RFC 3339 or null), `reason`, `in_flight` (objects with `command_id`,
    // `name`, `plugin`, `started_at`, `timeout_at`, `cancelled_at`, `given_up`).
    AegisJsonFn drain_status;
    // Begins the worker's own end: `reason`, `drain_timeout_ms` (optional).
    // Answers with an empty object, before the worker ends.
    AegisJsonFn shutdown;
} AegisNodeControlV1;

// Interface `aegis.config/1` of a host: the steps of a pushed config. Grant:
// `config`. Its functions may block for a bounded time: not for inline
// handlers.
typedef struct AegisConfigV1 {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // `{}`. Answers with `version` (empty if none was ever applied), `sha256`
    // of its document in hexadecimal digits, `rejected` (null, or `version`,
    // `step`, `reason`).
    AegisJsonFn current;
    // `version`, `document` (a JSON object). Refuses what this node cannot
    // take; changes nothing. Answers with an empty object.
    AegisJsonFn validate;
    // `version`, `document`. Writes it durably beside the last good one.
    AegisJsonFn store;
    // `version`. Puts the stored config into force, on probation; on an error
    // the one before it is in force again. Once the node was well under it for
    // a while, it is itself the last good one.
    AegisJsonFn apply;
    // `version`. Tells the controller which version is in force.
    AegisJsonFn acknowledge;
    // `version`, `step`, `reason`. Remembers that this version is not to be
    // tried again, and tells the controller why. A failure at the step
    // `acknowledge` is told and not remembered: the config is in force.
    AegisJsonFn reject;
} AegisConfigV1;

// Interface `aegis.checkpoint/1` of a host: what a resumable handler is given
// back after a crash. Every plugin has it, without a grant; it reaches the
// commands of this plugin's own calls alone. An older host has none: null.
typedef struct AegisCheckpointV1 {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // Keeps `data`, at most `AEGIS_MAX_CHECKPOINT_BYTES` of any form, in the
    // place of the checkpoint before it. On `AEGIS_OK` it is on disk. On
    // `AEGIS_ERROR` the one before may still be the newest, and `error`, which
    // may be null, has an error document that the caller releases.
    // `AEGIS_UNKNOWN_CALL` if the call is over or not this instance's. Blocks
    // while the disk is written: not to be called within `start`, nor on a
    // thread that others wait for.
    uint32_t (*save)(void *host_ctx,
                     uint64_t call_id,
                     struct AegisBytes data,
                     struct AegisBuffer *error);
    // Gives the newest checkpoint of the call's command, of this attempt or one
    // before, in `out`, which the caller releases; it may be empty. Otherwise
    // `AEGIS_NO_CHECKPOINT` or `AEGIS_UNKNOWN_CALL`. Never blocks.
    uint32_t (*load)(void *host_ctx, uint64_t call_id, struct AegisBuffer *out);
} AegisCheckpointV1;

// Interface `aegis.kv/1` of a host: values that are the plugin's alone, that
// survive restarts and updates of plugin and worker, wherever the plugin runs.
// Grant: `kv`. Keys are texts of 1 to `AEGIS_KV_MAX_KEY_BYTES`, values bytes,
// in the documents in base64 (RFC 4648, with padding). Each change gives its
// key a version, a number above 0 that the plugin never sees again. All
// functions may block while the disk is read or written: not to be called within
// `start`, nor on a thread that others wait for.
typedef struct AegisKeyValueV1 {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // `key`. Answers with `value` and `version`; null and 0: there is none.
    AegisJsonFn get;
    // `key`, `value`, `expected` (optional: the version that the key has; 0: it
    // has none). Answers with the new `version`; then it is on disk. Otherwise
    // nothing has changed: `version-conflict` where another was expected,
    // `value-too-large`, `kv-full`.
    AegisJsonFn put;
    // `key`, `expected` (as above). Answers with `removed`: whether there was
    // one. Then it is gone from the disk.
    AegisJsonFn remove;
    // `prefix`, `after` (a key), `limit` (1 to `AEGIS_KV_MAX_PAGE`), all
    // optional. Answers with `keys`, objects with `key`, `version` and `bytes`
    // in the order of the keys' bytes, and with `more`: whether another page
    // follows `after` the last of them.
    AegisJsonFn list;
} AegisKeyValueV1;

// Interface `aegis.metrics/1` of a host: figures at the worker's `/metrics`, as
// `aegis_plugin_NAME` with the label `plugin`. Grant: `metrics`. Its functions do
// not wait for anything.
typedef struct AegisMetricsV1 {
    // The size of this struct as the host knows it.
    uint32_t struct_size;
    // 0.
    uint32_t reserved;
    // `name`, `type` (`counter`, `gauge` or `histogram`), `help`, and for a
    // histogram `buckets` (their upper bounds, ascending, without infinity).
    // Saying the same again changes nothing. Answers with an empty object.
    AegisJsonFn declare;
    // `name`, `labels` (an object of texts; optional), `value` (a number). Adds
    // to a counter, which takes 0 and more alone; sets a gauge, or adds to it
    // where `add` is true; tells a histogram of one observation. Answers with an
    // empty object.
    AegisJsonFn record;
} AegisMetricsV1;

#endif  /* AEGIS_PLUGIN_H */
