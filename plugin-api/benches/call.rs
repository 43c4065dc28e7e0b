//! What a call through the C ABI costs, with a host that does nothing.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::{
    ffi::c_void,
    hint::black_box,
    mem::{MaybeUninit, size_of},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Thread},
};

use aegis_plugin_api::{abi::*, prelude::*};
use criterion::{Criterion, criterion_group, criterion_main};

struct Double;

impl Handler for Double {
    type Request = u32;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("double").inline();

    async fn handle(&self, n: u32, _: &Context) -> Result<u32, HandlerError> {
        Ok(n * 2)
    }
}

struct DoubleLater;

impl Handler for DoubleLater {
    type Request = u32;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("double.later");

    async fn handle(&self, n: u32, _: &Context) -> Result<u32, HandlerError> {
        Ok(n * 2)
    }
}

struct DoubleBlocking;

impl BlockingHandler for DoubleBlocking {
    type Request = u32;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("double.blocking");

    fn handle(&self, n: u32, _: &Context) -> Result<u32, HandlerError> {
        Ok(n * 2)
    }
}

export_plugin! {
    id: "doubler",
    handlers: [Double, DoubleLater],
    blocking: [DoubleBlocking],
}

/// Hears of one call at a time.
struct Host {
    done: AtomicBool,
    waiter: Thread,
}

static LOG_LEVEL: u32 = 0;

static HOST: AegisHostVtable = AegisHostVtable {
    struct_size: size_of::<AegisHostVtable>() as u32,
    abi_minor: 0,
    log_level: &raw const LOG_LEVEL,
    complete: Some(complete),
    progress: Some(progress),
    output: Some(output),
    is_cancelled: Some(is_cancelled),
    log: Some(log),
    get_interface: Some(get_interface),
};

unsafe extern "C" fn complete(ctx: *mut c_void, _: u64, completion: *const AegisCompletion) -> u32 {
    // SAFETY: `ctx` is the bench's `Host`, and the completion is ours.
    let (host, completion) = unsafe { (&*ctx.cast::<Host>(), completion.read()) };
    release(completion.buffer);
    let waiter = host.waiter.clone();
    host.done.store(true, Ordering::Release);
    waiter.unpark();
    AEGIS_OK
}

unsafe extern "C" fn progress(_: *mut c_void, _: u64, _: u32, _: AegisBytes) -> u32 {
    AEGIS_OK
}

unsafe extern "C" fn output(_: *mut c_void, _: u64, _: AegisBytes) -> u32 {
    AEGIS_OK
}

unsafe extern "C" fn is_cancelled(_: *mut c_void, _: u64) -> u32 {
    0
}

unsafe extern "C" fn log(
    _: *mut c_void,
    _: u64,
    _: u32,
    _: AegisBytes,
    _: AegisBytes,
    _: AegisBytes,
) {
}

unsafe extern "C" fn get_interface(_: *mut c_void, _: AegisBytes) -> *const c_void {
    ptr::null()
}

fn release(buffer: AegisBuffer) {
    if let Some(release) = buffer.release {
        // SAFETY: the buffer is ours and is released once.
        unsafe { release(buffer.owner, buffer.data, buffer.len) };
    }
}

fn bench(criterion: &mut Criterion) {
    let host = Host {
        done: AtomicBool::new(false),
        waiter: thread::current(),
    };
    let descriptor = aegis_plugin_api::built_ins()
        .next()
        .expect("it is linked")
        .descriptor();
    let args = AegisCreateArgs {
        struct_size: size_of::<AegisCreateArgs>() as u32,
        reserved: 0,
        host: &raw const HOST,
        host_ctx: ptr::from_ref(&host).cast_mut().cast(),
        config: AegisBytes::new(b"{}"),
        node: AegisBytes::new(b"{}"),
        state_dir: AegisBytes::EMPTY,
    };
    let mut instance = MaybeUninit::<AegisInstance>::uninit();
    let create = descriptor.create.expect("it has `create`");
    // SAFETY: the arguments outlive the call, and the host outlives the instance.
    let created = unsafe { create(&raw const args, instance.as_mut_ptr(), ptr::null_mut()) };
    assert_eq!(created, AEGIS_OK);
    // SAFETY: filled in on `AEGIS_OK`; the table is static.
    let (instance, vtable) = unsafe {
        let instance = instance.assume_init();
        (instance, &*instance.vtable)
    };
    let start = vtable.start.expect("it has `start`");

    let mut call = AegisCall {
        struct_size: size_of::<AegisCall>() as u32,
        handler: 0,
        call_id: 0,
        deadline_ns: 60_000_000_000,
        command_id: AegisBytes::new(b"01890a5d-ac96-774b-bcce-b302099a8057"),
        payload: AegisBytes::new(b"21"),
        issuer: AegisBytes::new(b"operator"),
        traceparent: AegisBytes::EMPTY,
        attempt: 1,
        reserved: 0,
    };
    let mut begin = |handler| {
        call.handler = handler;
        call.call_id += 1;
        let mut out = AegisCompletion {
            status: 0,
            reserved: 0,
            buffer: AegisBuffer::EMPTY,
        };
        // SAFETY: the instance is alive, the arguments outlive the call.
        let started = unsafe { start(instance.ctx, black_box(&raw const call), &raw mut out) };
        release(black_box(out).buffer);
        started
    };
    let mut group = criterion.benchmark_group("call");
    group.bench_function("inline", |bencher| {
        bencher.iter(|| assert_eq!(begin(0), AEGIS_START_DONE));
    });
    for (handler, name) in [(1, "async"), (2, "blocking")] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                assert_eq!(begin(handler), AEGIS_START_PENDING);
                while !host.done.swap(false, Ordering::Acquire) {
                    thread::park();
                }
            });
        });
    }
    group.finish();

    let (quiesce, destroy) = (
        vtable.quiesce.expect("it has `quiesce`"),
        vtable.destroy.expect("it has `destroy`"),
    );
    // SAFETY: no call is under way; nothing is used of the instance afterwards.
    unsafe {
        assert_eq!(quiesce(instance.ctx, 10_000_000_000), AEGIS_OK);
        destroy(instance.ctx);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
