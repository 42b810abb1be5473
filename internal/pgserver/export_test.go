package pgserver

// MemoryDir is memoryDir, and Room what a cluster needs.
var MemoryDir = memoryDir

const Room = room
