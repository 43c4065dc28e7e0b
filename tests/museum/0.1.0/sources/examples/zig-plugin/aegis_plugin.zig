//! What this plugin uses of aegis_plugin.h, and of the C library on Linux. The
//! comments are in the header.

pub const AEGIS_PLUGIN_MAGIC: u64 = 0x474c_5053_4947_4541;
pub const AEGIS_ABI_MAJOR: u16 = 1;
pub const AEGIS_ABI_MINOR: u16 = 0;
pub const AEGIS_FLAG_UNWINDS: u32 = 1;
pub const AEGIS_FLAG_START_NEVER_BLOCKS: u32 = 2;
pub const AEGIS_OK: u32 = 0;
pub const AEGIS_ERROR: u32 = 1;
pub const AEGIS_TIMEOUT: u32 = 2;
pub const AEGIS_START_DONE: u32 = 0;
pub const AEGIS_START_PENDING: u32 = 1;
pub const AEGIS_START_REFUSED: u32 = 2;
pub const AEGIS_STATUS_OK: u32 = 0;
pub const AEGIS_STATUS_ERROR: u32 = 1;
pub const AEGIS_STATUS_CANCELLED: u32 = 2;

pub const AEGIS_PLUGIN_TARGET = @tagName(builtin.cpu.arch) ++ "-unknown-linux-" ++ @tagName(builtin.abi);

pub const AegisBytes = extern struct { data: ?[*]const u8 = null, len: usize = 0 };

pub const AegisBuffer = extern struct {
    data: ?[*]const u8 = null,
    len: usize = 0,
    owner: ?*anyopaque = null,
    release: ?*const fn (?*anyopaque, ?[*]const u8, usize) callconv(.c) void = null,
};

pub const AegisCompletion = extern struct { status: u32 = 0, reserved: u32 = 0, buffer: AegisBuffer = .{} };

pub const AegisHostVtable = extern struct {
    struct_size: u32,
    abi_minor: u32,
    log_level: ?*const u32,
    complete: ?*const fn (?*anyopaque, u64, *const AegisCompletion) callconv(.c) u32,
    progress: ?*const fn (?*anyopaque, u64, u32, AegisBytes) callconv(.c) u32,
    output: ?*const fn (?*anyopaque, u64, AegisBytes) callconv(.c) u32,
    is_cancelled: ?*const fn (?*anyopaque, u64) callconv(.c) u32,
    log: ?*const fn (?*anyopaque, u64, u32, AegisBytes, AegisBytes, AegisBytes) callconv(.c) void,
    get_interface: ?*const fn (?*anyopaque, AegisBytes) callconv(.c) ?*const anyopaque,
};

pub const AegisCreateArgs = extern struct {
    struct_size: u32,
    reserved: u32,
    host: *const AegisHostVtable,
    host_ctx: ?*anyopaque,
    config: AegisBytes,
    node: AegisBytes,
    state_dir: AegisBytes,
};

pub const AegisCall = extern struct {
    struct_size: u32,
    handler: u32,
    call_id: u64,
    deadline_ns: u64,
    command_id: AegisBytes,
    payload: AegisBytes,
    issuer: AegisBytes,
    traceparent: AegisBytes,
    attempt: u32,
    reserved: u32,
};

pub const AegisInstanceVtable = extern struct {
    struct_size: u32 = @sizeOf(AegisInstanceVtable),
    reserved: u32 = 0,
    start: *const fn (?*anyopaque, *const AegisCall, *AegisCompletion) callconv(.c) u32,
    cancel: ?*const fn (?*anyopaque, u64, u32) callconv(.c) void = null,
    reconfigure: ?*const fn (?*anyopaque, AegisBytes, ?*AegisBuffer) callconv(.c) u32 = null,
    quiesce: ?*const fn (?*anyopaque, u64) callconv(.c) u32 = null,
    destroy: ?*const fn (?*anyopaque) callconv(.c) void = null,
    get_interface: ?*const fn (?*anyopaque, AegisBytes) callconv(.c) ?*const anyopaque = null,
};

pub const AegisInstance = extern struct { ctx: ?*anyopaque, vtable: ?*const AegisInstanceVtable };

pub const AegisPluginDescriptor = extern struct {
    magic: u64 = AEGIS_PLUGIN_MAGIC,
    struct_size: u32 = @sizeOf(AegisPluginDescriptor),
    abi_major: u16 = AEGIS_ABI_MAJOR,
    abi_minor: u16 = AEGIS_ABI_MINOR,
    min_host_minor: u16 = 0,
    reserved: u16 = 0,
    flags: u32,
    id: AegisBytes,
    version: AegisBytes,
    sdk: AegisBytes,
    toolchain: AegisBytes,
    target: AegisBytes,
    manifest: AegisBytes,
    create: *const fn (*const AegisCreateArgs, *AegisInstance, *AegisBuffer) callconv(.c) u32,
    get_interface: ?*const fn (AegisBytes) callconv(.c) ?*const anyopaque = null,
};

comptime {
    if (@sizeOf(usize) == 8) {
        // As plugin-api/tests/layout-64.txt has them.
        for (.{
            .{ AegisBytes, 16 },          .{ AegisBuffer, 32 },     .{ AegisCompletion, 40 },
            .{ AegisHostVtable, 64 },     .{ AegisCreateArgs, 72 }, .{ AegisCall, 96 },
            .{ AegisInstanceVtable, 56 }, .{ AegisInstance, 16 },   .{ AegisPluginDescriptor, 136 },
        }) |table| if (@sizeOf(table[0]) != table[1]) @compileError("a table has another size");
    }
}

// The C library.

const builtin = @import("builtin");

pub const pthread_t = c_ulong;
/// As large as on any Linux; made by `…_init`.
pub const pthread_mutex_t = extern struct { room: [64]u8 align(16) };
pub const pthread_cond_t = extern struct { room: [64]u8 align(16) };
pub const timespec = extern struct { tv_sec: c_long, tv_nsec: c_long };
pub const CLOCK_REALTIME: c_int = 0;

pub extern fn calloc(count: usize, size: usize) ?*anyopaque;
pub extern fn malloc(size: usize) ?*anyopaque;
pub extern fn free(memory: ?*anyopaque) void;
pub extern fn clock_gettime(clock: c_int, now: *timespec) c_int;
pub extern fn pthread_create(thread: *pthread_t, attributes: ?*const anyopaque, run: *const fn (?*anyopaque) callconv(.c) ?*anyopaque, argument: ?*anyopaque) c_int;
pub extern fn pthread_detach(thread: pthread_t) c_int;
pub extern fn pthread_mutex_init(mutex: *pthread_mutex_t, attributes: ?*const anyopaque) c_int;
pub extern fn pthread_mutex_lock(mutex: *pthread_mutex_t) c_int;
pub extern fn pthread_mutex_unlock(mutex: *pthread_mutex_t) c_int;
pub extern fn pthread_mutex_destroy(mutex: *pthread_mutex_t) c_int;
pub extern fn pthread_cond_init(cond: *pthread_cond_t, attributes: ?*const anyopaque) c_int;
pub extern fn pthread_cond_broadcast(cond: *pthread_cond_t) c_int;
pub extern fn pthread_cond_timedwait(cond: *pthread_cond_t, mutex: *pthread_mutex_t, end: *const timespec) c_int;
pub extern fn pthread_cond_destroy(cond: *pthread_cond_t) c_int;
