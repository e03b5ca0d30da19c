//! Functions for gm-native in Zig: the interface of gm_plugin.h, with errors and slices.
//!
//!     const gm = @import("gm.zig");
//!
//!     fn run(job: *gm.Job) !void {
//!         try job.print("{d} bytes", .{job.workload().len});
//!     }
//!
//!     comptime {
//!         gm.function("count_bytes", run);
//!     }
//!
//! A worker runs one job at a time, all on one thread. An error fails the job with its name, or with the text of `fail`. A
//! panic ends the worker. Link libc.
const std = @import("std");

/// Levels of log records: the smaller the more severe.
pub const Level = enum(c_int) { err = 1, warn = 2, info = 3, debug = 4, trace = 5 };

/// Texts that are made from formats are cut at this size.
pub const longest_text = 1024;

/// What `fail` returns.
pub const Failed = error{Failed};

/// gm_host: what the worker offers.
pub const Host = extern struct {
    size: usize,
    status: *const fn (*const Job, u64, u64) callconv(.c) c_int,
    data: *const fn (*const Job, [*]const u8, usize) callconv(.c) c_int,
    warning: *const fn (*const Job, [*]const u8, usize) callconv(.c) c_int,
    stopping: *const fn (*const Job) callconv(.c) c_int,
    log_wanted: *const fn (c_int) callconv(.c) c_int,
    log: *const fn (?*const Job, c_int, [*]const u8, usize) callconv(.c) void,
    result: *const fn (*Job, [*]const u8, usize) callconv(.c) c_int,
    result_owned: *const fn (*Job, ?*anyopaque, usize, ?*const fn (?*anyopaque) callconv(.c) void) callconv(.c) c_int,
    fail: *const fn (*Job, [*]const u8, usize) callconv(.c) c_int,
    exception: *const fn (*Job, [*]const u8, usize) callconv(.c) c_int,
    setting: *const fn (*const Context, [*:0]const u8) callconv(.c) ?[*:0]const u8,
    setting_at: *const fn (*const Context, usize, ?*[*:0]const u8) callconv(.c) ?[*:0]const u8,
    create_failed: *const fn (*Context, [*]const u8, usize) callconv(.c) c_int,
};

/// gm_job: one job. It is valid until `run` returns.
pub const Job = extern struct {
    size: usize,
    host: *const Host,
    number: u64,
    workload_start: [*]const u8,
    workload_size: usize,
    handle_start: [*]const u8,
    handle_size: usize,
    unique_start: [*]const u8,
    unique_size: usize,
    function_name: [*:0]const u8,

    /// The workload itself.
    pub fn workload(job: *const Job) []const u8 {
        return job.workload_start[0..job.workload_size];
    }

    /// The job server's handle.
    pub fn handle(job: *const Job) []const u8 {
        return job.handle_start[0..job.handle_size];
    }

    /// The client's unique id, which may be empty.
    pub fn unique(job: *const Job) []const u8 {
        return job.unique_start[0..job.unique_size];
    }

    /// The function's name with the job servers.
    pub fn functionName(job: *const Job) []const u8 {
        return std.mem.span(job.function_name);
    }

    /// Tells the caller how far the work is. On any thread; false where it was refused. It does not wait.
    pub fn status(job: *const Job, done: u64, of: u64) bool {
        return job.host.status(job, done, of) != 0;
    }

    /// Sends a part of the result ahead of its end. On any thread; false where it was refused. It may wait.
    pub fn data(job: *const Job, bytes: []const u8) bool {
        return job.host.data(job, bytes.ptr, bytes.len) != 0;
    }

    /// Sends a warning to the caller. As data.
    pub fn warning(job: *const Job, text: []const u8) bool {
        return job.host.warning(job, text.ptr, text.len) != 0;
    }

    /// True once the worker is asked to stop: long work should then end early. On any thread.
    pub fn stopping(job: *const Job) bool {
        return job.host.stopping(job) != 0;
    }

    /// Writes a record to the manager's log. On any thread.
    pub fn log(job: *const Job, level: Level, comptime format: []const u8, values: anytype) void {
        if (job.host.log_wanted(@intFromEnum(level)) == 0) return;
        var buffer: [longest_text]u8 = undefined;
        const text = formatted(&buffer, format, values);
        job.host.log(job, @intFromEnum(level), text.ptr, text.len);
    }

    /// The result: a copy of these bytes.
    pub fn result(job: *Job, bytes: []const u8) !void {
        if (job.host.result(job, bytes.ptr, bytes.len) != 0) return Failed.Failed;
    }

    /// The result: memory of `std.heap.c_allocator`, sent without a copy and then freed.
    pub fn resultOwned(job: *Job, bytes: []u8) !void {
        if (bytes.len == 0) {
            std.heap.c_allocator.free(bytes);
            return job.result("");
        }
        if (job.host.result_owned(job, bytes.ptr, bytes.len, release) != 0) return Failed.Failed;
    }

    /// The result: a text from a format, at most `longest_text` bytes long.
    pub fn print(job: *Job, comptime format: []const u8, values: anytype) !void {
        var buffer: [longest_text]u8 = undefined;
        try job.result(formatted(&buffer, format, values));
    }

    /// Fails the job with a text from a format: `return job.fail("row {d} is missing", .{7});`
    pub fn fail(job: *Job, comptime format: []const u8, values: anytype) Failed {
        var buffer: [longest_text]u8 = undefined;
        const text = formatted(&buffer, format, values);
        _ = job.host.fail(job, text.ptr, text.len);
        return Failed.Failed;
    }

    /// Fails the job with a Gearman exception, for clients that asked for exceptions.
    pub fn exception(job: *Job, payload: []const u8) Failed {
        _ = job.host.exception(job, payload.ptr, payload.len);
        return Failed.Failed;
    }
};

/// gm_context: what `init` of an object gets. It is valid until `init` returns.
pub const Context = extern struct {
    size: usize,
    host: *const Host,
    function_name: [*:0]const u8,

    /// The value of `setting.NAME = VALUE` in the function's section. Valid until `deinit` returns.
    pub fn setting(context: *const Context, name: [*:0]const u8) ?[:0]const u8 {
        return std.mem.span(context.host.setting(context, name) orelse return null);
    }

    /// The same; fails the start where it is not set.
    pub fn required(context: *Context, name: [*:0]const u8) ![:0]const u8 {
        return context.setting(name) orelse context.fail("setting.{s} is missing", .{name});
    }

    /// A setting that is a whole number, or `otherwise`. Fails the start for anything else.
    pub fn integer(context: *Context, comptime Number: type, name: [*:0]const u8, otherwise: Number) !Number {
        const value = context.setting(name) orelse return otherwise;
        return std.fmt.parseInt(Number, value, 10) catch
            context.fail("setting.{s} = {s} is no whole number, or too large", .{ name, value });
    }

    /// Fails the start with a text from a format.
    pub fn fail(context: *Context, comptime format: []const u8, values: anytype) Failed {
        var buffer: [longest_text]u8 = undefined;
        const text = formatted(&buffer, format, values);
        _ = context.host.create_failed(context, text.ptr, text.len);
        return Failed.Failed;
    }
};

/// gm_plugin: what a library exports for a function.
const Plugin = extern struct {
    magic: [32]u8,
    size: u32,
    interface_major: u16,
    interface_minor: u16,
    name: [*:0]const u8,
    version: [*:0]const u8,
    compiler: [*:0]const u8,
    create: ?*const fn (*Context, *?*anyopaque) callconv(.c) c_int,
    run: *const fn (?*anyopaque, *Job) callconv(.c) c_int,
    destroy: ?*const fn (?*anyopaque) callconv(.c) void,
};

/// Exports a function without state. Call it at comptime, at the top of a file.
pub fn function(comptime name: [:0]const u8, comptime run: fn (*Job) anyerror!void) void {
    const entry = struct {
        fn call(_: ?*anyopaque, job: *Job) callconv(.c) c_int {
            return ended(job, run(job));
        }

        const plugin = described(name, null, call, null);
    };
    @export(&entry.plugin, .{ .name = name });
}

/// Exports a function with state: a struct with `init(*Context) !Type`, `run(*Type, *Job) !void` and, if there is
/// something to do, `deinit(*Type) void`. The worker makes one when it starts, and ends it when it ends.
pub fn object(comptime name: [:0]const u8, comptime Type: type) void {
    const entry = struct {
        fn create(context: *Context, state: *?*anyopaque) callconv(.c) c_int {
            const made = std.heap.c_allocator.create(Type) catch |err| return refused(context, err);
            made.* = Type.init(context) catch |err| {
                std.heap.c_allocator.destroy(made);
                return refused(context, err);
            };
            state.* = made;
            return 0;
        }

        fn call(state: ?*anyopaque, job: *Job) callconv(.c) c_int {
            const made: *Type = @ptrCast(@alignCast(state.?));
            return ended(job, made.run(job));
        }

        fn destroy(state: ?*anyopaque) callconv(.c) void {
            const made: *Type = @ptrCast(@alignCast(state.?));
            if (@hasDecl(Type, "deinit")) made.deinit();
            std.heap.c_allocator.destroy(made);
        }

        const plugin = described(name, create, call, destroy);
    };
    @export(&entry.plugin, .{ .name = name });
}

fn described(
    comptime name: [:0]const u8,
    create: @FieldType(Plugin, "create"),
    run: @FieldType(Plugin, "run"),
    destroy: @FieldType(Plugin, "destroy"),
) Plugin {
    return .{
        .magic = "gm-native plugin entry for C    ".*,
        .size = @sizeOf(Plugin),
        .interface_major = 1,
        .interface_minor = 0,
        .name = name.ptr,
        .version = if (@hasDecl(@import("root"), "gm_plugin_version")) @import("root").gm_plugin_version else "",
        .compiler = "zig " ++ @import("builtin").zig_version_string,
        .create = create,
        .run = run,
        .destroy = destroy,
    };
}

/// What `run` returns to the worker.
fn ended(job: *Job, outcome: anyerror!void) c_int {
    outcome catch |err| {
        // The first reason counts: `fail` has given its own.
        const name = @errorName(err);
        return job.host.fail(job, name.ptr, name.len);
    };
    return 0;
}

fn refused(context: *Context, err: anyerror) c_int {
    const name = @errorName(err);
    return context.host.create_failed(context, name.ptr, name.len);
}

fn release(bytes: ?*anyopaque) callconv(.c) void {
    std.c.free(bytes);
}

fn formatted(buffer: []u8, comptime format: []const u8, values: anytype) []const u8 {
    return std.fmt.bufPrint(buffer, format, values) catch buffer;
}

/// Runs functions in a test, without gm-native: `var t: gm.Test = .{}; defer t.deinit(); try t.run(run, "workload");`.
pub const Test = struct {
    /// Names and values.
    settings: []const [2][:0]const u8 = &.{},
    /// What `stopping` returns.
    stop: bool = false,
    /// The last job's result.
    result: std.ArrayList(u8) = .empty,
    /// Why the last job, or `init`, failed: the text of `fail` or `exception`.
    failure: std.ArrayList(u8) = .empty,
    /// What the last job sent and logged, in lines as `gm-native call` prints them.
    sent: std.ArrayList(u8) = .empty,
    /// For `init` of an object.
    context: Context = .{ .size = @sizeOf(Context), .host = &test_host, .function_name = "test" },
    job: Job = .{
        .size = @sizeOf(Job),
        .host = &test_host,
        .number = 1,
        .workload_start = "",
        .workload_size = 0,
        .handle_start = "H:test:1",
        .handle_size = 8,
        .unique_start = "",
        .unique_size = 0,
        .function_name = "test",
    },

    /// Runs a job of a function. Returns its error.
    pub fn run(t: *Test, comptime called: fn (*Job) anyerror!void, workload: []const u8) !void {
        return called(t.begin(workload));
    }

    /// The same for an object.
    pub fn runObject(t: *Test, made: anytype, workload: []const u8) !void {
        return made.run(t.begin(workload));
    }

    pub fn deinit(t: *Test) void {
        inline for (.{ &t.result, &t.failure, &t.sent }) |list| list.deinit(std.heap.c_allocator);
    }

    fn begin(t: *Test, workload: []const u8) *Job {
        inline for (.{ &t.result, &t.failure, &t.sent }) |list| list.clearRetainingCapacity();
        t.job.workload_start = workload.ptr;
        t.job.workload_size = workload.len;
        return &t.job;
    }

    fn of(job: *const Job) *Test {
        return @constCast(@fieldParentPtr("job", job));
    }

    fn line(t: *Test, comptime format: []const u8, values: anytype) void {
        var buffer: [2 * longest_text]u8 = undefined;
        append(&t.sent, formatted(&buffer, format ++ "\n", values));
    }

    fn append(list: *std.ArrayList(u8), bytes: []const u8) void {
        list.appendSlice(std.heap.c_allocator, bytes) catch @panic("out of memory");
    }

    fn status(job: *const Job, done: u64, total: u64) callconv(.c) c_int {
        of(job).line("status  {d} of {d}", .{ done, total });
        return 1;
    }

    fn data(job: *const Job, bytes: [*]const u8, size: usize) callconv(.c) c_int {
        of(job).line("data    {d} bytes: {s}", .{ size, bytes[0..size] });
        return 1;
    }

    fn warning(job: *const Job, bytes: [*]const u8, size: usize) callconv(.c) c_int {
        of(job).line("warning {s}", .{bytes[0..size]});
        return 1;
    }

    fn stopping(job: *const Job) callconv(.c) c_int {
        return @intFromBool(of(job).stop);
    }

    fn logWanted(_: c_int) callconv(.c) c_int {
        return 1;
    }

    fn log(job: ?*const Job, level: c_int, bytes: [*]const u8, size: usize) callconv(.c) void {
        const names = [_][]const u8{ "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };
        of(job orelse return).line("{s: <8}{s}", .{ names[@intCast(level - 1)], bytes[0..size] });
    }

    fn giveResult(job: *Job, bytes: [*]const u8, size: usize) callconv(.c) c_int {
        append(&of(job).result, bytes[0..size]);
        return 0;
    }

    fn giveOwned(
        job: *Job,
        bytes: ?*anyopaque,
        size: usize,
        free: ?*const fn (?*anyopaque) callconv(.c) void,
    ) callconv(.c) c_int {
        const start: [*]const u8 = @ptrCast(bytes.?);
        append(&of(job).result, start[0..size]);
        if (free) |call| call(bytes);
        return 0;
    }

    fn giveFailure(job: *Job, bytes: [*]const u8, size: usize) callconv(.c) c_int {
        append(&of(job).failure, bytes[0..size]);
        return 1;
    }

    fn ofContext(context: *const Context) *Test {
        return @constCast(@fieldParentPtr("context", context));
    }

    fn setting(context: *const Context, name: [*:0]const u8) callconv(.c) ?[*:0]const u8 {
        for (ofContext(context).settings) |set| {
            if (std.mem.eql(u8, set[0], std.mem.span(name))) return set[1].ptr;
        }
        return null;
    }

    fn settingAt(context: *const Context, index: usize, name: ?*[*:0]const u8) callconv(.c) ?[*:0]const u8 {
        const settings = ofContext(context).settings;
        if (index >= settings.len) return null;
        if (name) |to| to.* = settings[index][0].ptr;
        return settings[index][1].ptr;
    }

    fn createFailed(context: *Context, bytes: [*]const u8, size: usize) callconv(.c) c_int {
        append(&ofContext(context).failure, bytes[0..size]);
        return 1;
    }

    const test_host: Host = .{
        .size = @sizeOf(Host),
        .status = status,
        .data = data,
        .warning = warning,
        .stopping = stopping,
        .log_wanted = logWanted,
        .log = log,
        .result = giveResult,
        .result_owned = giveOwned,
        .fail = giveFailure,
        .exception = giveFailure,
        .setting = setting,
        .setting_at = settingAt,
        .create_failed = createFailed,
    };
};

comptime {
    // As gm_plugin.h has them.
    std.debug.assert(@sizeOf(Plugin) == 88 and @sizeOf(Host) == 14 * @sizeOf(usize));
}
