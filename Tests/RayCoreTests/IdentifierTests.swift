import Testing

@testable import RayCore

@Test func ids() {
    let object = ObjectID(words: (1, 2, 3))
    #expect(ObjectID(object.description) == object)
}
