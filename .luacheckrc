std = "min"
max_line_length = 140
read_globals = { "jit" }
files["spec"] = { std = "min+busted", max_line_length = 170 } -- tables of cases are read across
files["examples/backend"] = { std = "ngx_lua" }
files["bench"] = { std = "ngx_lua" }
files["examples/openresty"] = { std = "ngx_lua" }
exclude_files = { "build*" }
