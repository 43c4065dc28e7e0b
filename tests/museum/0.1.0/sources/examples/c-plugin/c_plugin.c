/* A plugin in C: `c-echo` answers at once, `c-count` counts in a thread of its
 * own, shows how far it is, and can be cancelled. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_plugin.h"

#define VERSION "0.1.0"
#define COUNT_MAX 1000

/* What the file says of itself before any of its code runs. A handler's index in
 * `handlers` is the number that a call carries. */
AEGIS_PLUGIN_MANIFEST(
    "{\"manifest\":1,\"id\":\"c-plugin\",\"version\":\"" VERSION "\","
    "\"symbol\":\"aegis_plugin_v1_c_plugin\","
    "\"abi\":{\"major\":1,\"minor\":0,\"min_host_minor\":0},"
    "\"sdk\":\"aegis_plugin.h\",\"toolchain\":\"cc " __VERSION__ "\","
    "\"target\":\"" AEGIS_PLUGIN_TARGET "\",\"panic\":\"unwind\",\"requires\":[],"
    "\"handlers\":["
    "{\"name\":\"c-echo\",\"summary\":\"Answers with what it is given\",\"effect\":\"read\","
    "\"timeout_ms\":10000,\"concurrency\":16,\"inline\":true,"
    "\"request_schema\":{},\"response_schema\":{}},"
    "{\"name\":\"c-count\",\"summary\":\"Counts, ten numbers a second\",\"effect\":\"read\","
    "\"timeout_ms\":120000,\"concurrency\":4,"
    "\"request_schema\":{\"type\":\"object\",\"required\":[\"to\"],"
    "\"additionalProperties\":false,\"properties\":{\"to\":{\"type\":\"integer\","
    "\"minimum\":1,\"maximum\":1000}}},"
    "\"response_schema\":{\"type\":\"object\",\"required\":[\"counted\"],"
    "\"properties\":{\"counted\":{\"type\":\"integer\"}}}}"
    "]}");

enum { HANDLER_ECHO = 0, HANDLER_COUNT = 1 };

/* One instance. */
struct plugin {
    const AegisHostVtable *host;
    void *host_ctx;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running; /* threads that may still call the host; under `lock` */
    bool closed;      /* no new calls; under `lock` */
};

/* One call of c-count. */
struct count {
    struct plugin *plugin;
    uint64_t call_id;
    unsigned to;
};

/* Buffers. */

static void release_malloc(void *owner, const uint8_t *data, size_t len) {
    (void)data;
    (void)len;
    free(owner);
}

/* Bytes that the host frees through `release_malloc`; empty if there is no memory. */
static AegisBuffer copy_of(const void *bytes, size_t len) {
    AegisBuffer buffer = {NULL, 0, NULL, NULL};
    void *copy = len > 0 ? malloc(len) : NULL;
    if (copy != NULL) {
        memcpy(copy, bytes, len);
        buffer = (AegisBuffer){copy, len, copy, release_malloc};
    }
    return buffer;
}

/* A short JSON document. Nothing from outside goes into one, so nothing in it
 * needs to be escaped. */
static AegisBuffer document(const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return copy_of(text, len > 0 && (size_t)len < sizeof text ? (size_t)len : 0);
}

static AegisBuffer error_document(const char *code, const char *message) {
    return document("{\"code\":\"%s\",\"message\":\"%s\"}", code, message);
}

/* c-count. */

/* Reads `{"to": N}`. The worker has checked the payload against the schema in
 * the manifest; this does not rely on it. */
static unsigned parse_to(AegisBytes payload) {
    char text[64];
    if (payload.len == 0 || payload.len >= sizeof text) {
        return 0;
    }
    memcpy(text, payload.data, payload.len);
    text[payload.len] = '\0';
    const char *key = strstr(text, "\"to\"");
    const char *colon = key != NULL ? strchr(key, ':') : NULL;
    long to = colon != NULL ? strtol(colon + 1, NULL, 10) : 0;
    return to >= 1 && to <= COUNT_MAX ? (unsigned)to : 0;
}

static void leave(struct plugin *plugin) {
    pthread_mutex_lock(&plugin->lock);
    plugin->running--;
    pthread_cond_broadcast(&plugin->changed);
    pthread_mutex_unlock(&plugin->lock);
}

static void *count(void *argument) {
    struct count call = *(struct count *)argument;
    free(argument);
    struct plugin *plugin = call.plugin;
    const AegisHostVtable *host = plugin->host;
    const struct timespec pause = {0, 100 * 1000 * 1000};

    unsigned n = 0;
    while (n < call.to && host->is_cancelled(plugin->host_ctx, call.call_id) == 0) {
        nanosleep(&pause, NULL);
        n++;
        char line[32];
        int len = snprintf(line, sizeof line, "%u of %u\n", n, call.to);
        AegisBytes bytes = {(const uint8_t *)line, (size_t)len};
        host->output(plugin->host_ctx, call.call_id, bytes);
        bytes.len--; /* no line break in a note */
        host->progress(plugin->host_ctx, call.call_id, n * 1000 / call.to, bytes);
    }

    AegisCompletion end = {0, 0, {NULL, 0, NULL, NULL}};
    if (n == call.to) {
        end.status = AEGIS_STATUS_OK;
        end.buffer = document("{\"counted\":%u}", n);
    } else {
        end.status = AEGIS_STATUS_CANCELLED;
        end.buffer = error_document("cancelled", "stopped counting because it was told to");
    }
    host->complete(plugin->host_ctx, call.call_id, &end);

    leave(plugin);
    return NULL;
}

static uint32_t refuse(AegisCompletion *out, const char *code, const char *message) {
    out->status = AEGIS_STATUS_ERROR;
    out->buffer = error_document(code, message);
    return AEGIS_START_REFUSED;
}

/* A call that is let in leaves again, in `start` or at the end of its thread. */
static bool enter(struct plugin *plugin) {
    pthread_mutex_lock(&plugin->lock);
    bool open = !plugin->closed;
    plugin->running += open ? 1 : 0;
    pthread_mutex_unlock(&plugin->lock);
    return open;
}

static uint32_t start_count(struct plugin *plugin, const AegisCall *call, AegisCompletion *out) {
    unsigned to = parse_to(call->payload);
    if (to == 0) {
        return refuse(out, "invalid-payload", "c-count wants a number from 1 to 1000 in: to");
    }
    struct count *argument = malloc(sizeof *argument);
    pthread_t thread;
    if (argument != NULL) {
        *argument = (struct count){plugin, call->call_id, to};
        if (pthread_create(&thread, NULL, count, argument) == 0) {
            pthread_detach(thread);
            return AEGIS_START_PENDING;
        }
        free(argument);
    }
    return refuse(out, "no-threads", "there is no memory or no thread for the call");
}

/* The instance's table. */

static uint32_t start(void *ctx, const AegisCall *call, AegisCompletion *out) {
    struct plugin *plugin = ctx;
    uint32_t started;
    if (!enter(plugin)) {
        return refuse(out, "plugin-stopping", "the plugin is being stopped");
    }
    switch (call->handler) {
    case HANDLER_ECHO:
        out->status = AEGIS_STATUS_OK;
        out->buffer = copy_of(call->payload.data, call->payload.len);
        started = AEGIS_START_DONE;
        break;
    case HANDLER_COUNT:
        started = start_count(plugin, call, out);
        break;
    default:
        started = refuse(out, "no-such-handler", "the plugin has no such handler");
    }
    if (started != AEGIS_START_PENDING) {
        leave(plugin);
    }
    return started;
}

/* Nothing to do: the thread asks the host at every number. */
static void cancel(void *ctx, uint64_t call_id, uint32_t reason) {
    (void)ctx;
    (void)call_id;
    (void)reason;
}

static bool is_empty_object(AegisBytes json) {
    char braces[2];
    size_t found = 0;
    for (size_t i = 0; i < json.len; i++) {
        if (strchr(" \t\r\n", json.data[i]) == NULL || json.data[i] == '\0') {
            if (found == sizeof braces) {
                return false;
            }
            braces[found++] = (char)json.data[i];
        }
    }
    return found == 0 || (found == 2 && memcmp(braces, "{}", 2) == 0);
}

static uint32_t check_config(AegisBytes config, AegisBuffer *error) {
    if (is_empty_object(config)) {
        return AEGIS_OK;
    }
    *error = error_document("invalid-config", "this plugin takes no config");
    return AEGIS_ERROR;
}

static uint32_t reconfigure(void *ctx, AegisBytes config, AegisBuffer *error) {
    (void)ctx;
    return check_config(config, error);
}

static struct timespec from_now(uint64_t nanoseconds) {
    const uint64_t second = 1000 * 1000 * 1000;
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    /* A year is as good as for ever, and cannot overflow. */
    uint64_t seconds = nanoseconds / second < 31536000 ? nanoseconds / second : 31536000;
    uint64_t rest = (uint64_t)end.tv_nsec + nanoseconds % second;
    end.tv_sec += (time_t)(seconds + rest / second);
    end.tv_nsec = (long)(rest % second);
    return end;
}

static uint32_t quiesce(void *ctx, uint64_t timeout_ns) {
    struct plugin *plugin = ctx;
    struct timespec end = from_now(timeout_ns);
    int waited = 0;
    pthread_mutex_lock(&plugin->lock);
    plugin->closed = true;
    while (plugin->running > 0 && waited == 0) {
        waited = pthread_cond_timedwait(&plugin->changed, &plugin->lock, &end);
    }
    bool idle = plugin->running == 0;
    pthread_mutex_unlock(&plugin->lock);
    return idle ? AEGIS_OK : AEGIS_TIMEOUT;
}

static void destroy(void *ctx) {
    struct plugin *plugin = ctx;
    pthread_cond_destroy(&plugin->changed);
    pthread_mutex_destroy(&plugin->lock);
    free(plugin);
}

static const void *no_interface(void *ctx, AegisBytes id) {
    (void)ctx;
    (void)id;
    return NULL;
}

static const AegisInstanceVtable instance = {
    .struct_size = sizeof(AegisInstanceVtable),
    .start = start,
    .cancel = cancel,
    .reconfigure = reconfigure,
    .quiesce = quiesce,
    .destroy = destroy,
    .get_interface = no_interface,
};

/* The descriptor. */

static uint32_t create(const AegisCreateArgs *args, AegisInstance *out, AegisBuffer *error) {
    /* A field is there if it lies within the table's size. */
    const AegisHostVtable *host = args->host;
    size_t need = offsetof(AegisHostVtable, get_interface) + sizeof host->get_interface;
    if (host->struct_size < need) {
        *error = error_document("host-too-old", "the worker lacks functions that this plugin needs");
        return AEGIS_ERROR;
    }
    if (check_config(args->config, error) != AEGIS_OK) {
        return AEGIS_ERROR;
    }
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL) {
        return AEGIS_ERROR;
    }
    plugin->host = host;
    plugin->host_ctx = args->host_ctx;
    pthread_mutex_init(&plugin->lock, NULL);
    pthread_cond_init(&plugin->changed, NULL);
    if (__atomic_load_n(host->log_level, __ATOMIC_RELAXED) >= AEGIS_LOG_DEBUG) {
        AegisBytes target = AEGIS_BYTES("c-plugin");
        AegisBytes message = AEGIS_BYTES("ready to count");
        AegisBytes fields = {NULL, 0};
        host->log(args->host_ctx, 0, AEGIS_LOG_DEBUG, target, message, fields);
    }
    *out = (AegisInstance){plugin, &instance};
    return AEGIS_OK;
}

AEGIS_PLUGIN_EXPORT const AegisPluginDescriptor aegis_plugin_v1_c_plugin = {
    .magic = AEGIS_PLUGIN_MAGIC,
    .struct_size = sizeof(AegisPluginDescriptor),
    .abi_major = AEGIS_ABI_MAJOR,
    .abi_minor = AEGIS_ABI_MINOR,
    .min_host_minor = 0,
    /* C throws nothing, so nothing it throws can get out. */
    .flags = AEGIS_FLAG_UNWINDS | AEGIS_FLAG_START_NEVER_BLOCKS,
    .id = AEGIS_BYTES("c-plugin"),
    .version = AEGIS_BYTES(VERSION),
    .sdk = AEGIS_BYTES("aegis_plugin.h"),
    .toolchain = AEGIS_BYTES("cc " __VERSION__),
    .target = AEGIS_BYTES(AEGIS_PLUGIN_TARGET),
    .manifest = AEGIS_BYTES(aegis_plugin_manifest),
    .create = create,
};
