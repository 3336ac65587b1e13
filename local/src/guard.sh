# Ends one service when its owner is gone, however the owner went.
#
# Called with the signal that ends the service and the folder to remove afterwards (empty: keep it). Standard input is a
# pipe that only the owner holds, and, for the instant before it becomes the service, the process that the owner starts.
# That process writes its id into the pipe as a line; the owner writes an empty line when it has seen the service end.
# The end of input therefore means that the owner is gone and that the last line names what it left running.
trap '' INT TERM HUP

service=
while read -r line; do service=$line; done

# A process that nobody has waited for yet still takes signals but is as good as gone.
alive() { kill -0 "$service" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$service/status" 2>/dev/null; }

if [ -n "$service" ]; then
    kill -CONT "$service" 2>/dev/null
    kill -s "$1" "$service" 2>/dev/null
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

# The last children of a service that was killed may still be writing, and a folder that is not empty stays.
polls=0
while [ -n "$2" ] && ! rm -rf "$2" 2>/dev/null && [ "$polls" -lt 50 ]; do
    polls=$((polls + 1))
    sleep 0.1
done
