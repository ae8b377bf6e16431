// A memory window: what opens a part of a registered region to peers, and closes it again, without a registration.

#if Verbs
    internal import CVerbs
    internal import RayCore

    /// A window of type 1 (InfiniBand specification, 10.6.7.2): its key opens a range to every queue pair of the
    /// protection domain, and is another one each time the window is bound. It is closed at once when the object goes.
    @safe
    final class VerbsWindow {
        // SAFETY: valid from init to deinit, which is the only place that gives it back.
        private let window: UnsafeMutablePointer<ibv_mw>
        let device: VerbsDevice
        /// What it is bound to: a device does not give back a region that has windows.
        private var region: VerbsRegion?

        /// - Throws: `rdmaUnavailable` when the device has no more.
        init(on device: VerbsDevice) throws(FabricError) {
            guard let window = unsafe rf_verbs_allocate_window(device.domain) else {
                throw FabricError(.rdmaUnavailable, errno: rf_errno(), "make a window on \(device.port.device)")
            }
            unsafe self.window = window
            self.device = device
        }

        deinit { unsafe _ = rf_verbs_free_window(window) }

        /// Valid from the time that it was bound at.
        var remoteKey: UInt32 { unsafe window.pointee.rkey }

        /// Begins to open a range of a region for reading, in the order of what is posted to the pair.
        /// - Returns: false when the device refused it.
        func open(_ region: VerbsRegion, _ range: Range<UInt64>, by pair: VerbsQueuePair, name: UInt64) -> Bool {
            self.region = region
            return bind(region, range, access: RF_VERBS_REMOTE_READ, by: pair, name)
        }

        /// Begins to close it; it may be opened again when that is completed.
        func close(by pair: VerbsQueuePair, name: UInt64) -> Bool {
            guard let region else { preconditionFailure("a window that is not open") }
            return bind(region, 0..<0, access: 0, by: pair, name)
        }

        private func bind(
            _ region: VerbsRegion, _ range: Range<UInt64>, access: Int32, by pair: VerbsQueuePair, _ name: UInt64
        ) -> Bool {
            var bind = unsafe ibv_mw_bind()
            unsafe bind.wr_id = name
            unsafe bind.send_flags = IBV_SEND_SIGNALED.rawValue
            unsafe region.describe(range, in: &bind.bind_info)
            unsafe bind.bind_info.mw_access_flags = UInt32(access)
            return unsafe pair.bind(window, &bind)
        }

        /// It is closed.
        func closed() { region = nil }
    }
#endif
