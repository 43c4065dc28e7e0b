//! A plugin in Zig: `zig-crc32` answers at once, `zig-primes` counts in a thread
//! of its own and can be cancelled.

const std = @import("std");
const c = @import("aegis_plugin.zig");

const version = "0.1.0";
const primes_max = 10_000_000;

/// What the file says of itself before any of its code runs. A handler's index
/// in `handlers` is the number that a call carries.
const manifest_text =
    \\{"manifest":1,"id":"zig-plugin","version":"
++ version ++
    \\","symbol":"aegis_plugin_v1_zig_plugin",
    \\"abi":{"major":1,"minor":0,"min_host_minor":0},
    \\"sdk":"aegis_plugin.h","toolchain":"
++ toolchain ++
    \\","target":"
++ c.AEGIS_PLUGIN_TARGET ++
    \\","panic":"unwind","requires":[],"handlers":[
    \\{"name":"zig-crc32","summary":"The checksum of what it is given","effect":"read",
    \\"timeout_ms":10000,"concurrency":16,"inline":true,"request_schema":{},
    \\"response_schema":{"type":"object","required":["crc32"]}},
    \\{"name":"zig-primes","summary":"Counts primes","effect":"read",
    \\"timeout_ms":120000,"concurrency":4,
    \\"request_schema":{"type":"object","required":["to"],"additionalProperties":false,
    \\"properties":{"to":{"type":"integer","minimum":1,"maximum":10000000}}},
    \\"response_schema":{"type":"object","required":["primes"]}}]}
;

const toolchain = "zig " ++ @import("builtin").zig_version_string;

/// With its NUL, in the section where a worker reads it.
export const aegis_plugin_manifest: [manifest_text.len:0]u8 linksection(".aegis.plugin") = manifest_text.*;

/// One instance.
const Plugin = struct {
    host: *const c.AegisHostVtable,
    host_ctx: ?*anyopaque,
    lock: c.pthread_mutex_t,
    changed: c.pthread_cond_t,
    /// Threads that may still call the host; under `lock`.
    running: u32 = 0,
    /// No new calls; under `lock`.
    closed: bool = false,

    fn enter(plugin: *Plugin) bool {
        _ = c.pthread_mutex_lock(&plugin.lock);
        defer _ = c.pthread_mutex_unlock(&plugin.lock);
        if (plugin.closed) return false;
        plugin.running += 1;
        return true;
    }

    fn leave(plugin: *Plugin) void {
        _ = c.pthread_mutex_lock(&plugin.lock);
        plugin.running -= 1;
        _ = c.pthread_cond_broadcast(&plugin.changed);
        _ = c.pthread_mutex_unlock(&plugin.lock);
    }
};

/// One call of zig-primes.
const Count = struct { plugin: *Plugin, call_id: u64, to: u32 };

fn new(comptime T: type) ?*T {
    return @ptrCast(@alignCast(c.calloc(1, @sizeOf(T)) orelse return null));
}

fn bytes(text: []const u8) c.AegisBytes {
    return .{ .data = text.ptr, .len = text.len };
}

fn releaseMalloc(owner: ?*anyopaque, _: ?[*]const u8, _: usize) callconv(.c) void {
    c.free(owner);
}

/// Bytes that the host frees through `releaseMalloc`; empty if there is no memory.
fn copyOf(text: []const u8) c.AegisBuffer {
    const copy = c.malloc(text.len) orelse return .{};
    const to: [*]u8 = @ptrCast(copy);
    @memcpy(to[0..text.len], text);
    return .{ .data = to, .len = text.len, .owner = copy, .release = releaseMalloc };
}

/// A short JSON document. Nothing from outside goes into one, so nothing in it
/// needs to be escaped.
fn document(comptime format: []const u8, arguments: anytype) c.AegisBuffer {
    var room: [256]u8 = undefined;
    return copyOf(std.fmt.bufPrint(&room, format, arguments) catch return .{});
}

fn errorDocument(code: []const u8, message: []const u8) c.AegisBuffer {
    return document("{{\"code\":\"{s}\",\"message\":\"{s}\"}}", .{ code, message });
}

fn refuse(out: *c.AegisCompletion, code: []const u8, message: []const u8) u32 {
    out.buffer = errorDocument(code, message);
    return c.AEGIS_START_REFUSED;
}

/// Reads `{"to": N}`. The worker has checked the payload against the schema in
/// the manifest; this does not rely on it.
fn parseTo(payload: []const u8) ?u32 {
    const colon = std.mem.indexOfScalar(u8, payload, ':') orelse return null;
    const number = std.mem.trim(u8, payload[colon + 1 ..], " \t\r\n}");
    const to = std.fmt.parseInt(u32, number, 10) catch return null;
    return if (to >= 1 and to <= primes_max) to else null;
}

fn isPrime(number: u32) bool {
    if (number < 2) return false;
    var by: u64 = 2;
    while (by * by <= number) : (by += 1) {
        if (number % by == 0) return false;
    }
    return true;
}

fn count(argument: ?*anyopaque) callconv(.c) ?*anyopaque {
    const call: Count = @as(*Count, @ptrCast(@alignCast(argument))).*;
    c.free(argument);
    const host = call.plugin.host;
    const host_ctx = call.plugin.host_ctx;

    var end = c.AegisCompletion{};
    var primes: u32 = 0;
    var number: u32 = 0;
    while (number < call.to) {
        if (number % 1024 == 0) {
            if (host.is_cancelled.?(host_ctx, call.call_id) != 0) break;
            const permille: u32 = @intCast(@as(u64, number) * 1000 / call.to);
            _ = host.progress.?(host_ctx, call.call_id, permille, bytes("counting"));
        }
        number += 1;
        if (isPrime(number)) primes += 1;
    }
    if (number == call.to) {
        end.status = c.AEGIS_STATUS_OK;
        end.buffer = document("{{\"primes\":{d}}}", .{primes});
    } else {
        end.status = c.AEGIS_STATUS_CANCELLED;
    }
    _ = host.complete.?(host_ctx, call.call_id, &end);
    call.plugin.leave();
    return null;
}

fn startCount(plugin: *Plugin, call: *const c.AegisCall, payload: []const u8, out: *c.AegisCompletion) u32 {
    const to = parseTo(payload) orelse {
        out.status = c.AEGIS_STATUS_ERROR;
        out.buffer = errorDocument("invalid-payload", "it takes {to: 1 to 10000000}");
        return c.AEGIS_START_DONE;
    };
    const argument = new(Count) orelse return refuse(out, "no-memory", "there is no memory for a call");
    argument.* = .{ .plugin = plugin, .call_id = call.call_id, .to = to };
    var thread: c.pthread_t = undefined;
    if (c.pthread_create(&thread, null, count, argument) != 0) {
        c.free(argument);
        return refuse(out, "no-thread", "no thread can be started");
    }
    _ = c.pthread_detach(thread);
    return c.AEGIS_START_PENDING;
}

fn start(ctx: ?*anyopaque, call: *const c.AegisCall, out: *c.AegisCompletion) callconv(.c) u32 {
    const plugin: *Plugin = @ptrCast(@alignCast(ctx));
    const payload: []const u8 = if (call.payload.data) |data| data[0..call.payload.len] else "";
    if (!plugin.enter()) return refuse(out, "plugin-stopped", "the plugin is being stopped");
    const started = switch (call.handler) {
        0 => done: {
            out.status = c.AEGIS_STATUS_OK;
            out.buffer = document("{{\"crc32\":\"{x:0>8}\"}}", .{std.hash.Crc32.hash(payload)});
            break :done @as(u32, c.AEGIS_START_DONE);
        },
        1 => startCount(plugin, call, payload, out),
        else => refuse(out, "no-such-handler", "the plugin has no such handler"),
    };
    if (started != c.AEGIS_START_PENDING) plugin.leave();
    return started;
}

/// Nothing to do: the thread asks the host as it counts.
fn cancel(_: ?*anyopaque, _: u64, _: u32) callconv(.c) void {}

fn quiesce(ctx: ?*anyopaque, timeout_ns: u64) callconv(.c) u32 {
    const plugin: *Plugin = @ptrCast(@alignCast(ctx));
    const second: u64 = 1_000_000_000;
    var end: c.timespec = undefined;
    _ = c.clock_gettime(c.CLOCK_REALTIME, &end);
    // A year is as good as for ever, and cannot overflow.
    const wait = @min(timeout_ns, 31_536_000 * second);
    const rest = @as(u64, @intCast(end.tv_nsec)) + wait % second;
    end.tv_sec += @intCast(wait / second + rest / second);
    end.tv_nsec = @intCast(rest % second);

    _ = c.pthread_mutex_lock(&plugin.lock);
    defer _ = c.pthread_mutex_unlock(&plugin.lock);
    plugin.closed = true;
    while (plugin.running > 0) {
        if (c.pthread_cond_timedwait(&plugin.changed, &plugin.lock, &end) != 0) break;
    }
    return if (plugin.running == 0) c.AEGIS_OK else c.AEGIS_TIMEOUT;
}

fn destroy(ctx: ?*anyopaque) callconv(.c) void {
    const plugin: *Plugin = @ptrCast(@alignCast(ctx));
    _ = c.pthread_cond_destroy(&plugin.changed);
    _ = c.pthread_mutex_destroy(&plugin.lock);
    c.free(plugin);
}

/// A host takes null for a function that the plugin does not have: this one
/// takes no config.
const instance = c.AegisInstanceVtable{
    .start = start,
    .cancel = cancel,
    .quiesce = quiesce,
    .destroy = destroy,
};

fn create(args: *const c.AegisCreateArgs, out: *c.AegisInstance, err: *c.AegisBuffer) callconv(.c) u32 {
    const host = args.host;
    // A field is there if it lies within the table's size.
    if (host.struct_size < @offsetOf(c.AegisHostVtable, "log")) {
        err.* = errorDocument("host-too-old", "the worker lacks functions that this plugin needs");
        return c.AEGIS_ERROR;
    }
    const plugin = new(Plugin) orelse return c.AEGIS_ERROR;
    plugin.host = host;
    plugin.host_ctx = args.host_ctx;
    _ = c.pthread_mutex_init(&plugin.lock, null);
    _ = c.pthread_cond_init(&plugin.changed, null);
    out.* = .{ .ctx = plugin, .vtable = &instance };
    return c.AEGIS_OK;
}

export const aegis_plugin_v1_zig_plugin = c.AegisPluginDescriptor{
    // Zig throws nothing, so nothing it throws can get out.
    .flags = c.AEGIS_FLAG_UNWINDS | c.AEGIS_FLAG_START_NEVER_BLOCKS,
    .id = constant("zig-plugin"),
    .version = constant(version),
    .sdk = constant("aegis_plugin.h"),
    .toolchain = constant(toolchain),
    .target = constant(c.AEGIS_PLUGIN_TARGET),
    .manifest = constant(manifest_text),
    .create = create,
};

/// What `bytes` is, for constants.
fn constant(comptime it: []const u8) c.AegisBytes {
    return .{ .data = it.ptr, .len = it.len };
}
