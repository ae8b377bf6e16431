# Objects of several sizes are pulled whole from one host to the other, over a slow cable too.
source "$here/pulls.sh"

for size in 8 100000 67108864; do
    serve $size
    pull 20
    pulled $size
    stop server
done

limit 200mbit
serve 20000000
pull 20
pulled 20000000
