#!/bin/sh
# Makes the secret files that compose.yaml and the Kubernetes overlays name, each with a password of its own.
#   secrets.sh [FOLDER]      by default: secrets, beside this script
# Files that are there already stay as they are, but for the rules of Redis' users, which are written anew. To change
# passwords, remove all files and run it again.
set -eu

folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
# Containers run as users of their own and read these files through mounts; others on this machine must pass
# the folder, which is the owner's only.
chmod 700 "$folder"

password() {
    # 32 bytes as hexadecimal digits: nothing to quote in a URL, in JSON or in a configuration file.
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# write NAME: standard input becomes the file, whole or not at all.
write() {
    if [ -e "$folder/$1" ]; then
        cat > /dev/null
        echo "$folder/$1 is there already" >&2
        return
    fi
    rm -f "$folder/$1.new"
    cat > "$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

# keep NAME: the password in this file, made if need be.
keep() {
    [ -e "$folder/$1" ] || password | write "$1"
    cat "$folder/$1"
}

admin=$(keep redis_password)
controller=$(keep redis_controller_password)
worker=$(keep redis_worker_password)
keda=$(keep redis_keda_password)
postgres=$(keep postgres_password)
s3=$(keep s3_secret_key)

# Only what the shell does itself sees passwords: arguments of a program are for all to read.
users() {
    printf 'requirepass %s\n' "$admin"
    while IFS= read -r line; do
        case $line in
        '#'*) ;;
        *@controller@*) printf '%s%s%s\n' "${line%%@controller@*}" "$controller" "${line#*@controller@}" ;;
        *@worker@*) printf '%s%s%s\n' "${line%%@worker@*}" "$worker" "${line#*@worker@}" ;;
        *@keda@*) printf '%s%s%s\n' "${line%%@keda@*}" "$keda" "${line#*@keda@}" ;;
        *) printf '%s\n' "$line" ;;
        esac
    done < "$(dirname "$0")/redis-users.conf"
}

password | write job_secret
password | write dashboard_token
# Nobody's to change, and its rules may be those of an older version.
rm -f "$folder/redis_auth.conf"
users | write redis_auth.conf
printf 'redis://controller:%s@redis:6379/0' "$controller" | write controller_redis_url
printf 'redis://worker:%s@redis:6379/0' "$worker" | write worker_redis_url
printf 'keda' | write redis_keda_user
printf 'postgresql+psycopg2://optuna:%s@postgres:5432/optuna' "$postgres" | write optuna_storage
printf '[default]\naws_access_key_id = optuna-rq\naws_secret_access_key = %s\n' "$s3" | write aws_credentials
write s3.json << JSON
{"identities": [{"name": "optuna-rq", "credentials": [{"accessKey": "optuna-rq", "secretKey": "$s3"}],
                 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
