/* A plugin that keeps to none of the rules of aegis_plugin.h: each handler
 * breaks one. Written without the SDK. */

#include "aegis_plugin.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HANDLER(name) \
    "{\"name\":\"hostile." name "\",\"effect\":\"read\",\"timeout_ms\":1000,\"concurrency\":4}"
#define MANIFEST                                                                   \
    "{\"manifest\":1,\"id\":\"hostile\",\"version\":\"6.6.6\","                    \
    "\"symbol\":\"aegis_plugin_v1_hostile\","                                      \
    "\"abi\":{\"major\":1,\"minor\":0,\"min_host_minor\":0},"                      \
    "\"sdk\":\"none\",\"toolchain\":\"cc\",\"target\":\"" AEGIS_PLUGIN_TARGET "\"," \
    "\"panic\":\"unwind\",\"requires\":[],\"handlers\":["                          \
    HANDLER("double") "," HANDLER("late") "," HANDLER("forged") ","                \
    HANDLER("no-json") "," HANDLER("no-status") "," HANDLER("no-start") ","        \
    HANDLER("silent") "," HANDLER("no-error") "," HANDLER("noise") ","             \
    HANDLER("empty") "]}"

AEGIS_PLUGIN_MANIFEST(MANIFEST);

static const AegisHostVtable *host;
static void *host_ctx;
static uint64_t over;

static AegisBytes bytes(const char *text) {
    AegisBytes result = {(const uint8_t *)text, strlen(text)};
    return result;
}

static AegisCompletion completion(uint32_t status, const char *text) {
    AegisCompletion result = {status, 0, {(const uint8_t *)text, strlen(text), NULL, NULL}};
    return result;
}

static void complete(uint64_t call_id, uint32_t status, const char *text) {
    AegisCompletion result = completion(status, text);
    host->complete(host_ctx, call_id, &result);
}

static void *twice(void *call_id) {
    complete((uint64_t)(uintptr_t)call_id, AEGIS_STATUS_OK, "\"first\"");
    complete((uint64_t)(uintptr_t)call_id, AEGIS_STATUS_ERROR, "{\"code\":\"x\",\"message\":\"second\"}");
    return NULL;
}

static void run(void *(*body)(void *), uint64_t call_id) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, (void *)(uintptr_t)call_id) == 0) {
        pthread_detach(thread);
    }
}

static uint32_t start(void *ctx, const AegisCall *call, AegisCompletion *out) {
    (void)ctx;
    uint64_t id = call->call_id;
    if (over != 0) {
        complete(over, AEGIS_STATUS_OK, "\"late\"");
        over = 0;
    }
    switch (call->handler) {
    case 0: /* double */
        run(twice, id);
        return AEGIS_START_PENDING;
    case 1: /* late: done, and then again during the next call */
        over = id;
        *out = completion(AEGIS_STATUS_OK, "\"done\"");
        return AEGIS_START_DONE;
    case 2: /* forged: other calls first, then its own */
        complete(0, AEGIS_STATUS_OK, "\"forged\"");
        complete(UINT64_MAX, AEGIS_STATUS_OK, "\"forged\"");
        for (uint64_t step = 1; step < 64; step++) {
            complete(id + step, AEGIS_STATUS_OK, "\"forged\"");
            complete(id ^ (step << 32), AEGIS_STATUS_OK, "\"forged\"");
        }
        complete(id, AEGIS_STATUS_OK, "\"own\"");
        return AEGIS_START_PENDING;
    case 3:
        *out = completion(AEGIS_STATUS_OK, "\xff\xfe no JSON");
        return AEGIS_START_DONE;
    case 4:
        *out = completion(77, "\"fine\"");
        return AEGIS_START_DONE;
    case 5:
        *out = completion(AEGIS_STATUS_OK, "\"fine\"");
        return 99;
    case 6: /* silent: for ever, whatever cancel says */
        return AEGIS_START_PENDING;
    case 7:
        *out = completion(AEGIS_STATUS_ERROR, "no error document");
        return AEGIS_START_DONE;
    case 8: /* noise, before a good answer */
        host->progress(host_ctx, id, 4000000000u, bytes("\xff\xff"));
        host->progress(host_ctx, id + 1, 1, bytes("another's"));
        host->output(host_ctx, id + 1, bytes("another's"));
        host->output(host_ctx, id, bytes("\x1b[2J\xff"));
        host->log(host_ctx, id, 99, bytes("\xff"), bytes("\x1b[2J\xff"), bytes("no JSON"));
        host->is_cancelled(host_ctx, id + 1);
        host->get_interface(host_ctx, bytes("aegis.node-control/1"));
        *out = completion(AEGIS_STATUS_OK, "\"done\"");
        return AEGIS_START_DONE;
    default: /* empty: no bytes at all for an answer */
        *out = completion(AEGIS_STATUS_OK, "");
        out->buffer.data = NULL;
        return AEGIS_START_DONE;
    }
}

static void cancel(void *ctx, uint64_t call_id, uint32_t reason) {
    (void)ctx, (void)call_id, (void)reason;
}

static uint32_t reconfigure(void *ctx, AegisBytes config, AegisBuffer *error) {
    (void)ctx, (void)config, (void)error;
    return 1234;
}

static uint32_t quiesce(void *ctx, uint64_t timeout_ns) {
    (void)ctx, (void)timeout_ns;
    return AEGIS_OK;
}

static void destroy(void *ctx) {
    (void)ctx;
    complete(1, AEGIS_STATUS_OK, "\"after the end\"");
}

static const AegisInstanceVtable vtable = {
    sizeof(AegisInstanceVtable), 0, start, cancel, reconfigure, quiesce, destroy, NULL,
};

static uint32_t create(const AegisCreateArgs *args, AegisInstance *out, AegisBuffer *error) {
    (void)error;
    host = args->host;
    host_ctx = args->host_ctx;
    out->ctx = NULL;
    out->vtable = &vtable;
    return AEGIS_OK;
}

AEGIS_PLUGIN_EXPORT const AegisPluginDescriptor aegis_plugin_v1_hostile = {
    AEGIS_PLUGIN_MAGIC,
    sizeof(AegisPluginDescriptor),
    AEGIS_ABI_MAJOR,
    AEGIS_ABI_MINOR,
    0,
    0,
    AEGIS_FLAG_UNWINDS | AEGIS_FLAG_START_NEVER_BLOCKS,
    AEGIS_BYTES("hostile"),
    AEGIS_BYTES("6.6.6"),
    AEGIS_BYTES("none"),
    AEGIS_BYTES("cc"),
    AEGIS_BYTES(AEGIS_PLUGIN_TARGET),
    AEGIS_BYTES(MANIFEST),
    create,
    NULL,
};
