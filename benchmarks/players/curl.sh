#!/bin/sh
# What fits on two lines: sh curl.sh DROP DONE URL. It checks nothing, and sends the file as it is.
cd "$1" || exit
inotifywait --monitor --event close_write --event moved_to --format %f . | xargs -P 16 -I {} sh -c \
    'curl -s -f -o /dev/null -X PUT -H "Authorization: Bearer abc" --data-binary "@$0" "$1" && mv "$0" "$2"' {} "$3" "$2"
