module gm.local/my_function

go 1.19
