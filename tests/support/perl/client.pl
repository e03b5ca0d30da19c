# Submits one job with Gearman::Client and prints each callback as a line of JSON.
# HOST PORT FUNCTION UNIQUE normal|high|low|background, the workload on stdin. An empty UNIQUE: none.

use strict;
use warnings;
use Gearman::Client;

my ($host, $port, $function, $unique, $mode) = @ARGV;
binmode STDIN;
my $workload = do { local $/; <STDIN> } // '';

sub say_json {
    my ($callback, @more) = @_;
    print '{"callback":"', $callback, '"', @more, "}\n";
}

sub hex_data {
    my ($data) = @_;
    return ',"data":"' . unpack('H*', ref $data ? $$data : $data) . '"';
}

my $client = Gearman::Client->new(job_servers => ["$host:$port"]);
my %options = (
    on_status    => sub { say_json('status', ',"done":', $_[0] + 0, ',"of":', $_[1] + 0) },
    on_data      => sub { say_json('data', hex_data($_[0])) },
    on_warning   => sub { say_json('warning', hex_data($_[0])) },
    on_complete  => sub { say_json('complete', hex_data($_[0])) },
    on_exception => sub { say_json('exception', hex_data($_[0])) },
    # The library says the same of a job that failed and of a server that cannot be reached, but for these words.
    on_fail      => sub { ($_[0] // '') eq 'jshandle fail' ? say_json('fail') : die "perl client: $_[0]\n" },
);
$options{uniq} = $unique if $unique ne '';
$options{priority} = $mode if $mode eq 'high' || $mode eq 'low';

if ($mode eq 'background') {
    my $handle = $client->dispatch_background($function, \$workload, {$unique ne '' ? (uniq => $unique) : ()});
    die "perl client: no handle\n" unless $handle;
    # The library puts its own name for the server in front of the handle.
    $handle =~ s{^.*//}{};
    say_json('created', ',"handle":"', $handle, '"');
    exit 0;
}

my $tasks = $client->new_task_set;
$tasks->add_task($function, \$workload, \%options);
$tasks->wait;
