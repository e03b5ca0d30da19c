module gm.local/json_pick

go 1.19
