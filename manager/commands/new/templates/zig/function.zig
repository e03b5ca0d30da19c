//! The Gearman function my_function.
const std = @import("std");
const gm = @import("gm.zig");

comptime {
    gm.function("my_function", run);
}

/// Counts the words of the workload.
fn run(job: *gm.Job) !void {
    var words: usize = 0;
    var each = std.mem.tokenizeAny(u8, job.workload(), " \t\r\n");
    while (each.next()) |_| words += 1;
    job.log(.info, "{d} words", .{words});
    try job.print("{d}", .{words});
}

test "words are counted" {
    var t: gm.Test = .{};
    defer t.deinit();
    try t.run(run, "a job for you");
    try std.testing.expectEqualStrings("4", t.result.items);
    try std.testing.expectEqualStrings("INFO    4 words\n", t.sent.items);
}
