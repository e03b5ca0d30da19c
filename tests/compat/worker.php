<?php
// A function of the original's for the suite that runs against both. The steps are those of tests/plugins/compat.

function FUNCTION($job, &$log)
{
    $result = '';
    foreach (explode("\n", $job->workload()) as $line) {
        [$verb, $rest] = explode(' ', $line, 2) + ['', ''];
        switch ($verb) {
            case 'say':
                $result = $rest;
                break;
            case 'log':
                $log[] = $rest;
                break;
            case 'note':
                file_put_contents($rest, $job->functionName() . ' ' . getmypid() . "\n", FILE_APPEND);
                break;
            case 'take':
                // A signal ends a sleep.
                $end = microtime(true) + (int) $rest / 1000;
                while (microtime(true) < $end) {
                    usleep(2000);
                }
                break;
            case 'wait':
                while (!file_exists($rest)) {
                    clearstatcache();
                    usleep(2000);
                }
                break;
        }
    }
    return $result;
}
