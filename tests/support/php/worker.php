<?php
// Serves one function with php-gearman, called as GearmanManager calls it. HOST PORT FILE NAME: the file defines the
// function NAME, or a class of that name. Prints a line once it is ready.

[, $host, $port, $file, $name] = $argv;
require $file;
$object = class_exists($name) ? new $name() : null;

$worker = new GearmanWorker();
$worker->addServer($host, (int) $port);
$worker->addFunction($name, function ($job) use ($object, $name) {
    $log = array();
    try {
        $result = $object ? $object->run($job, $log) : $name($job, $log);
    } catch (Throwable $thrown) {
        // GearmanManager's worker would end here, and the job fail.
        $job->sendFail();
        return null;
    }
    foreach ($log as $line) {
        echo "log: $line\n";
    }
    // As GearmanManager does.
    settype($result, 'string');
    return $result;
});
echo "ready\n";
while ($worker->work()) {
}
