<?php
// A plain loop on php-gearman: HOST PORT FUNCTION.
$worker = new GearmanWorker();
$worker->addServer($argv[1], (int) $argv[2]);
$worker->addFunction($argv[3], fn (GearmanJob $job) => strrev($job->workload()));
while ($worker->work()) {
}
exit(1);
