//! Statistics of the numbers in a text: `3 1 2` becomes `count 3, mean 2, deviation 1, median 2, least 1, most 3`.
//!
//! The sums are Welford's, which stay exact where the numbers are large and close together.
const std = @import("std");
const gm = @import("gm.zig");

comptime {
    gm.function("statistics", run);
}

/// After so many numbers, the caller learns how far the work is.
const part = 1 << 16;

fn run(job: *gm.Job) !void {
    const allocator = std.heap.c_allocator;
    var numbers: std.ArrayList(f64) = .empty;
    defer numbers.deinit(allocator);
    var mean: f64 = 0;
    var squares: f64 = 0;
    var each = std.mem.tokenizeAny(u8, job.workload(), " \t\r\n,;");
    while (each.next()) |text| {
        const number = std.fmt.parseFloat(f64, text) catch return job.fail("{s} is no number", .{text[0..@min(text.len, 40)]});
        try numbers.append(allocator, number);
        const step = number - mean;
        mean += step / @as(f64, @floatFromInt(numbers.items.len));
        squares += step * (number - mean);
        if (numbers.items.len % part == 0) {
            if (job.stopping()) return job.fail("stopped after {d} numbers", .{numbers.items.len});
            _ = job.status(each.index, job.workload().len);
        }
    }
    const count = numbers.items.len;
    if (count == 0) return job.fail("there are no numbers", .{});
    std.mem.sortUnstable(f64, numbers.items, {}, std.sort.asc(f64));
    const sorted = numbers.items;
    const median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    const deviation = if (count > 1) @sqrt(squares / @as(f64, @floatFromInt(count - 1))) else 0;
    try job.print("count {d}, mean {d}, deviation {d}, median {d}, least {d}, most {d}", .{
        count, mean, deviation, median, sorted[0], sorted[count - 1],
    });
}

test "statistics" {
    var t: gm.Test = .{};
    defer t.deinit();
    for ([_][2][]const u8{
        .{ "3 1 2", "count 3, mean 2, deviation 1, median 2, least 1, most 3" },
        .{ "1e9,1e9;1e9\n1e9", "count 4, mean 1000000000, deviation 0, median 1000000000, least 1000000000, most 1000000000" },
        .{ "7", "count 1, mean 7, deviation 0, median 7, least 7, most 7" },
    }) |case| {
        try t.run(run, case[0]);
        try std.testing.expectEqualStrings(case[1], t.result.items);
    }
    try std.testing.expectError(error.Failed, t.run(run, "1 two"));
    try std.testing.expectEqualStrings("two is no number", t.failure.items);
    try std.testing.expectError(error.Failed, t.run(run, " "));
}
