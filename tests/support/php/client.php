<?php
// Submits one job with php-gearman and prints each callback as a line of JSON.
// HOST PORT FUNCTION UNIQUE normal|high|low|background, the workload on stdin. An empty UNIQUE: the library makes one.

[, $host, $port, $function, $unique, $mode] = $argv;
$unique = $unique === '' ? null : $unique;
$workload = stream_get_contents(STDIN);

function say(string $callback, array $more = []): void
{
    echo json_encode(['callback' => $callback] + $more), "\n";
}

function give_up(GearmanClient $client): never
{
    fwrite(STDERR, 'php client: ' . $client->error() . ' (' . $client->returnCode() . ")\n");
    exit(1);
}

$client = new GearmanClient();
$client->addServer($host, (int) $port);
$client->setCreatedCallback(fn ($task) => say('created', ['handle' => $task->jobHandle()]));
$client->setStatusCallback(
    fn ($task) => say('status', ['done' => (int) $task->taskNumerator(), 'of' => (int) $task->taskDenominator()])
);
$client->setDataCallback(fn ($task) => say('data', ['data' => bin2hex($task->data())]));
$client->setWarningCallback(fn ($task) => say('warning', ['data' => bin2hex($task->data())]));
$client->setCompleteCallback(fn ($task) => say('complete', ['data' => bin2hex($task->data())]));
$client->setExceptionCallback(fn ($task) => say('exception', ['data' => bin2hex($task->data())]));
$client->setFailCallback(fn ($task) => say('fail'));

if ($mode === 'background') {
    $handle = $client->doBackground($function, $workload, $unique);
    if ($client->returnCode() !== GEARMAN_SUCCESS) {
        give_up($client);
    }
    say('created', ['handle' => $handle]);
    exit(0);
}

$context = null;
$task = match ($mode) {
    'high' => $client->addTaskHigh($function, $workload, $context, $unique),
    'low' => $client->addTaskLow($function, $workload, $context, $unique),
    default => $client->addTask($function, $workload, $context, $unique),
};
if ($task === false) {
    give_up($client);
}
// A failed job is told by its callback; here it is not an error.
if (!$client->runTasks() && !in_array($client->returnCode(), [GEARMAN_WORK_FAIL, GEARMAN_WORK_EXCEPTION], true)) {
    give_up($client);
}
