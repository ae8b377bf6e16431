# A node with another key is told so, and the right one is still served.
source "$here/pulls.sh"

serve 1000
pull 10 another-key-of-16-bytes
failed_with authenticationFailed
pull 10
pulled 1000
