# Sizes of all kinds, both ways at once, with less room than the objects want.
swift_tests RayFabricTests.VerbsSoakTests/
