//! The Gearman function my_function, with state that is kept from job to job.
const std = @import("std");
const gm = @import("gm.zig");

comptime {
    gm.object("my_function", Counter);
}

/// Made once in each worker.
const Counter = struct {
    shortest: usize,
    total: usize = 0,

    /// Reads the settings, such as `setting.shortest = 3` in the section [my_function]. Read all of them here: one that is
    /// never read, such as a misspelt `setting.shortst`, is named in the log.
    pub fn init(context: *gm.Context) !Counter {
        return .{ .shortest = try context.integer(usize, "shortest", 1) };
    }

    /// Counts the words of the workload that are long enough.
    pub fn run(counter: *Counter, job: *gm.Job) !void {
        var words: usize = 0;
        var each = std.mem.tokenizeAny(u8, job.workload(), " \t\r\n");
        while (each.next()) |word| words += @intFromBool(word.len >= counter.shortest);
        counter.total += words;
        job.log(.info, "{d} words, {d} so far", .{ words, counter.total });
        try job.print("{d}", .{words});
    }
};

test "words are counted from job to job" {
    var t: gm.Test = .{ .settings = &.{.{ "shortest", "2" }} };
    defer t.deinit();
    var counter = try Counter.init(&t.context);
    try t.runObject(&counter, "a job for you");
    try std.testing.expectEqualStrings("3", t.result.items);
    try t.runObject(&counter, "another one");
    try std.testing.expectEqualStrings("INFO    2 words, 5 so far\n", t.sent.items);
}

test "a wrong setting is named" {
    var t: gm.Test = .{ .settings = &.{.{ "shortest", "none" }} };
    defer t.deinit();
    try std.testing.expectError(error.Failed, Counter.init(&t.context));
    try std.testing.expectEqualStrings("setting.shortest = none is no whole number, or too large", t.failure.items);
}
