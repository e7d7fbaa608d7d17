# shellcheck shell=bash disable=SC2034 # its variables are for those that source it
# Sourced by the scripts here: a temporary folder that goes when they end, nginx, measured runs, medians.
set -euo pipefail

bench=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
checkout=${bench%/*}
PATH=$PATH:/usr/sbin # where Debian puts nginx, and where a plain user does not look
nginx_pids=()

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

need() { # command what-to-do
  command -v "$1" >/dev/null || fail "$1 is not installed: $2"
}

clean_up() {
  local pid
  for pid in ${nginx_pids[@]+"${nginx_pids[@]}"}; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/revec-bench.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

compile() { # name: bench/NAME.c to $work/NAME
  # shellcheck disable=SC2046 # flags, to be split
  "${CC:-gcc}" -std=c11 -O2 -Wall -Wextra -o "$work/$1" "$bench/$1.c" $(pkg-config --cflags --libs libcurl)
}

load=$(cut -d' ' -f1 /proc/loadavg)

# Which machine and how busy it was before, when, what was run.
header() { # arguments of the script
  printf 'machine: %s, %s cores, %s, Linux %s, load %s before\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(nproc)" "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)" "$(uname -r)" "$load"
  printf 'date:    %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf 'command: bench/%s\n' "${0##*/}${*:+ $*}"
}

# Paths such as 2026/01/25/<uuid>.jpg, the same on every run, as many in each folder.
image_paths() { # count images-per-folder
  awk -v count="$1" -v each="$2" 'BEGIN {
    srand(1)
    for (i = 0; i < count; i++) {
      day = int(i / each)
      printf "%d/%02d/%02d/", 2026 - int(day / 336), int(day / 28) % 12 + 1, day % 28 + 1
      for (j = 0; j < 8; j++) printf (j >= 2 && j <= 5 ? "-%04x" : "%04x"), int(rand() * 65536)
      print ".jpg"
    }
  }'
}

# Empty files: the backend reads images, revec only names them.
make_storage() { # folder count images-per-folder
  mkdir -p "$1"
  (
    cd "$1"
    image_paths "$2" "$3" | sed 's|/[^/]*$||' | uniq | xargs mkdir -p
    image_paths "$2" "$3" | xargs touch
  )
}

# What the backend answers to an embed.
answer() { # dimension
  awk -v dim="$1" 'BEGIN {
    srand(1)
    printf "{\"status\":\"success\",\"message\":\"图像嵌入生成成功\",\"data\":[{\"index\":0,\"embedding\":["
    for (i = 0; i < dim; i++) printf "%s%.16g", i ? "," : "", (rand() - 0.5) / 20
    printf "],\"dimension\":%d}]}", dim
  }'
}

# Starts nginx on a free port with bench/NAME.conf.in, and sets url. Words that look @LIKE_THIS@ are replaced. Its folder is
# $work/nginx, or $nginx_dir when that is set.
start_nginx() { # name [WORD=value…]
  need nginx 'Debian package nginx'
  local text port word nginx_pid dir=${nginx_dir:-$work/nginx}
  mkdir -p "$dir/tmp"
  for _ in {1..20}; do
    port=$((20000 + RANDOM % 10000)) # below the range from which the kernel takes ports for outgoing connections
    text=$(<"$bench/$1.conf.in")
    text=${text//@PORT@/$port}
    for word in "${@:2}"; do text=${text//@${word%%=*}@/"${word#*=}"}; done
    ((EUID == 0)) && text="user root; $text" # root's workers would become another user, who cannot read $work
    printf '%s\n' "$text" >"$dir/nginx.conf"
    nginx -p "$dir" -e error.log -c "$dir/nginx.conf" -g 'daemon off;' 2>"$dir/stderr" &
    nginx_pid=$!
    for _ in {1..60}; do
      kill -0 "$nginx_pid" 2>/dev/null || continue 2
      if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [[ -s $dir/nginx.pid ]]; then
        nginx_pids+=("$nginx_pid")
        url=http://127.0.0.1:$port
        return
      fi
      sleep 0.05
    done
  done
  fail "nginx does not start: $(head -n 1 "$dir/stderr")"
}

# One measured run. Contestants are named by words without blanks; the run must end with exit code 0.
run() { # contestant command…
  printf '%s ' "$1" >>"$work/runs"
  "$work/measure" "$work/runs" "${@:2}" >"$work/output" 2>&1 || fail "$1: $(tail -n 3 "$work/output")"
}

# Adds to each run its ratios of wall, CPU and memory to the run of the contestant called base in the same round, so that
# what slows the machine for a while hits both. A round is so many runs in a row.
add_ratios() { # base contestants-in-a-round
  awk -v base="$1" -v size="$2" '
    { row[NR % size] = $0; n = split($1, name, "/") }
    name[n] == base { wall = $2; cpu = $3; rss = $4 }
    NR % size == 0 {
      for (i = 1; i <= size; i++) {
        split(row[i % size], f, " ")
        print f[1], f[2], f[3], f[4], f[2] / wall, f[3] / cpu, f[4] / rss
      }
    }' "$work/runs" >"$work/ratios"
  mv "$work/ratios" "$work/runs"
}

# From the runs: "contestant figure…", medians, in the order in which the contestants first ran.
medians() {
  awk '
    !($1 in n) { order[++count] = $1 }
    { n[$1]++; for (f = 2; f <= NF; f++) v[$1, f, n[$1]] = $f; fields = NF }
    function median(name, f,   i, j, x, m, a) {
      m = n[name]
      for (i = 1; i <= m; i++) {
        x = v[name, f, i] + 0
        for (j = i - 1; j > 0 && a[j] > x; j--) a[j + 1] = a[j]
        a[j + 1] = x
      }
      return m % 2 ? a[(m + 1) / 2] : (a[m / 2] + a[m / 2 + 1]) / 2
    }
    END {
      for (c = 1; c <= count; c++) {
        printf "%s", order[c]
        for (f = 2; f <= fields; f++) printf " %.6f", median(order[c], f)
        print ""
      }
    }' "$work/runs"
}
