module github.com/gm-native/gm-native/plugin-api/go

go 1.19
