/* A plugin that takes its process with it: each handler ends, wrecks or hangs
 * whatever it runs in. Written without the SDK. */

#include "aegis_plugin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDLER(name, effect) \
    "{\"name\":\"deadly." name "\",\"effect\":\"" effect "\",\"timeout_ms\":60000,\"concurrency\":4}"
#define MANIFEST                                                                   \
    "{\"manifest\":1,\"id\":\"deadly\",\"version\":\"6.6.6\","                     \
    "\"symbol\":\"aegis_plugin_v1_deadly\","                                       \
    "\"abi\":{\"major\":1,\"minor\":0,\"min_host_minor\":0},"                      \
    "\"sdk\":\"none\",\"toolchain\":\"cc\",\"target\":\"" AEGIS_PLUGIN_TARGET "\"," \
    "\"panic\":\"abort\",\"requires\":[],\"handlers\":["                           \
    HANDLER("fine", "read") "," HANDLER("exit", "at-most-once") ","                \
    HANDLER("abort", "at-most-once") "," HANDLER("segv", "at-most-once") ","       \
    HANDLER("stack", "at-most-once") "," HANDLER("silent", "at-most-once") ","     \
    HANDLER("babble", "at-most-once") "," HANDLER("close", "at-most-once") ","     \
    HANDLER("fork", "at-most-once") "," HANDLER("twice", "at-most-once") ","       \
    HANDLER("leak", "at-most-once") "," HANDLER("garbage", "at-most-once") ","     \
    HANDLER("ask", "read") "," HANDLER("block", "at-most-once") "]}"

AEGIS_PLUGIN_MANIFEST(MANIFEST);

static const AegisHostVtable *host;
static void *host_ctx;

static AegisBytes bytes(const char *text) {
    AegisBytes result = {(const uint8_t *)text, strlen(text)};
    return result;
}

static AegisCompletion completion(uint32_t status, const char *text) {
    AegisCompletion result = {status, 0, {(const uint8_t *)text, strlen(text), NULL, NULL}};
    return result;
}

static void complete(uint64_t call_id, const char *text) {
    AegisCompletion result = completion(AEGIS_STATUS_OK, text);
    host->complete(host_ctx, call_id, &result);
}

static int deeper(volatile char *above) {
    volatile char room[4096];
    room[0] = above[0];
    return deeper(room) + room[0];
}

static void babble(uint64_t id) {
    char line[1024];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    for (int number = 0; number < 20000; number++) {
        host->log(host_ctx, id, AEGIS_LOG_WARN, bytes("deadly"), bytes("babble"), bytes(line));
        host->output(host_ctx, id, bytes(line));
        fprintf(stderr, "%s\n", line);
    }
}

/* What the node's drain is, through the interface that has to be granted. */
static void ask(AegisCompletion *out) {
    const AegisNodeControlV1 *control = host->get_interface(host_ctx, bytes("aegis.node-control/1"));
    if (control == NULL) {
        *out = completion(AEGIS_STATUS_OK, "\"not granted\"");
        return;
    }
    AegisBuffer answer = {NULL, 0, NULL, NULL};
    uint32_t status = control->drain_status(host_ctx, bytes("{}"), &answer);
    out->status = status == AEGIS_OK ? AEGIS_STATUS_OK : AEGIS_STATUS_ERROR;
    out->buffer = answer;
}

static uint32_t start(void *ctx, const AegisCall *call, AegisCompletion *out) {
    (void)ctx;
    uint64_t id = call->call_id;
    switch (call->handler) {
    case 1:
        fprintf(stderr, "leaving now\n");
        exit(7);
    case 2:
        abort();
    case 3:
        *(volatile int *)16 = 1;
        return AEGIS_START_PENDING;
    case 4: {
        volatile char top = 0;
        return deeper(&top) ? AEGIS_START_PENDING : AEGIS_START_DONE;
    }
    case 5: /* silent: for ever, whatever cancel says */
        return AEGIS_START_PENDING;
    case 6:
        babble(id);
        break;
    case 7: /* even the one to the worker */
        for (int number = 0; number < 256; number++) {
            close(number);
        }
        return AEGIS_START_PENDING;
    case 8: /* one that holds all that is open, and goes on for ever */
        if (fork() == 0) {
            for (;;) {
                pause();
            }
        }
        break;
    case 9:
        complete(id, "\"first\"");
        complete(id, "\"second\"");
        return AEGIS_START_PENDING;
    case 10:
        for (;;) {
            char *some = malloc(1 << 20);
            if (some == NULL) {
                fprintf(stderr, "no memory is left\n");
                abort();
            }
            memset(some, 1, 1 << 20);
        }
    case 11: /* in place of what the process itself says there */
        if (write(3, "\xff\xff\xff\xff", 4) != 4) {
            abort();
        }
        return AEGIS_START_PENDING;
    case 12:
        ask(out);
        return AEGIS_START_DONE;
    case 13: /* although it promised that start never blocks */
        for (;;) {
            pause();
        }
    default:
        break;
    }
    *out = completion(AEGIS_STATUS_OK, "\"fine\"");
    return AEGIS_START_DONE;
}

static void cancel(void *ctx, uint64_t call_id, uint32_t reason) {
    (void)ctx, (void)call_id, (void)reason;
}

static uint32_t quiesce(void *ctx, uint64_t timeout_ns) {
    (void)ctx, (void)timeout_ns;
    return AEGIS_OK;
}

static void destroy(void *ctx) {
    (void)ctx;
}

static const AegisInstanceVtable vtable = {
    sizeof(AegisInstanceVtable), 0, start, cancel, NULL, quiesce, destroy, NULL,
};

static uint32_t create(const AegisCreateArgs *args, AegisInstance *out, AegisBuffer *error) {
    (void)error;
    host = args->host;
    host_ctx = args->host_ctx;
    out->ctx = NULL;
    out->vtable = &vtable;
    return AEGIS_OK;
}

AEGIS_PLUGIN_EXPORT const AegisPluginDescriptor aegis_plugin_v1_deadly = {
    AEGIS_PLUGIN_MAGIC,
    sizeof(AegisPluginDescriptor),
    AEGIS_ABI_MAJOR,
    AEGIS_ABI_MINOR,
    0,
    0,
    AEGIS_FLAG_START_NEVER_BLOCKS,
    AEGIS_BYTES("deadly"),
    AEGIS_BYTES("6.6.6"),
    AEGIS_BYTES("none"),
    AEGIS_BYTES("cc"),
    AEGIS_BYTES(AEGIS_PLUGIN_TARGET),
    AEGIS_BYTES(MANIFEST),
    create,
    NULL,
};
