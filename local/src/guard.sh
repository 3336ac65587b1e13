# Ends one service when its owner is gone, however the owner went.
#
# Called with the signal that ends the service, its folder if it has one, and whether to `keep` or `remove` that.
# Standard input is a pipe that only the owner holds, and, for the instant before it becomes the service, the process
# that the owner starts. That process writes its id into the pipe as a line; the owner writes an empty line when it has
# seen the service end.
# The end of input therefore means that the owner is gone and that the last line names what it left running.
trap '' INT TERM HUP
signal=$1 folder=$2 fate=$3

service=
while read -r line; do service=$line; done

# A process that nobody has waited for yet still takes signals but is as good as gone.
alive() { kill -0 "$service" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$service/status" 2>/dev/null; }

if [ -n "$service" ]; then
    kill -CONT "$service" 2>/dev/null
    kill -s "$signal" "$service" 2>/dev/null
    polls=0
    while alive; do
        polls=$((polls + 1))
        if [ "$polls" -ge 200 ]; then
            kill -KILL "$service" 2>/dev/null
            break
        fi
        sleep 0.05
    done
fi

[ -n "$folder" ] || exit 0

# The service's children may outlive it for a while: those of one that was killed, and of one that was still being set up.
children() { ls -l /proc/[0-9]*/cwd 2>/dev/null | sed 's|$|/|' | grep -qF -e "-> $folder/" -e "-> $folder (deleted)"; }
polls=0
while children && [ "$polls" -lt 200 ]; do
    polls=$((polls + 1))
    sleep 0.05
done

[ "$fate" = keep ] || rm -rf "$folder"
